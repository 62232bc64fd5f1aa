import ControlAPI
import Foundation
import PKI
import Secrets
import Yams

/// The logins on disk: `NAME.yaml` for each proxy, `current-profile` names the one in use, keys lie under `keys/NAME/`,
/// database certificates under `keys/NAME/USER-db/CLUSTER/`.
public struct ProfileStore: Sendable {
  public let directory: String

  public init(environment: [String: String] = ProcessInfo.processInfo.environment) {
    directory = environment["TELEPORT_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory() + "/.tsh"
  }

  // MARK: Profiles

  private var currentPath: String { directory + "/current-profile" }

  private func path(_ name: String) throws -> String { directory + "/\(try Self.fileName(name)).yaml" }

  /// All logins, expired ones too, by name.
  public func all() throws -> [Profile] {
    guard FileManager.default.fileExists(atPath: directory) else { return [] }
    return try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
      .filter { $0.hasSuffix(".yaml") }.map { String($0.dropLast(".yaml".count)) }
      .compactMap { name in try load(name).flatMap { $0.name == name ? $0 : nil } }
  }

  /// The login in use, expired or not; `nil` if there is none.
  public func current() throws -> Profile? {
    guard FileManager.default.fileExists(atPath: currentPath) else { return nil }
    return try load(try read(currentPath).trimmingCharacters(in: .whitespacesAndNewlines))
  }

  /// The login at `proxy`, expired or not; without one, that in use.
  public func find(proxy: String?) throws -> Profile? {
    guard let proxy else { return try current() }
    return try load(try ProxyAddress(proxy).profileName)
  }

  /// The login to act as; throws with the command to type if there is none or it has expired.
  public func valid(proxy: String? = nil, user: String? = nil) throws -> Profile {
    let profile = try chosen(proxy: proxy, user: user)
    guard profile.validUntil > Date() else { throw profile.expired }
    return profile
  }

  /// The same, expired or not.
  public func chosen(proxy: String?, user: String?) throws -> Profile {
    guard let profile = try find(proxy: proxy) else {
      let flags = "--proxy=\(proxy ?? "HOST:PORT") --user=\(user ?? "NAME")"
      throw ToolError("not logged in\(proxy.map { " to \($0)" } ?? "")", hint: "run: tsh login \(flags)")
    }
    guard user == nil || user == profile.user else {
      throw ToolError(
        "logged in as '\(profile.user)', not as '\(user ?? "")'",
        hint: "run: tsh login --proxy=\(profile.proxy) --user=\(user ?? "")")
    }
    return profile
  }

  private func load(_ name: String) throws -> Profile? {
    let path = try path(name)
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    do {
      return try YAMLDecoder().decode(Profile.self, from: try read(path))
    } catch is DecodingError {
      throw ToolError("\(path) is damaged", hint: "run: tsh logout, then tsh login")
    }
  }

  private func read(_ path: String) throws -> String {
    do {
      try PrivateFile.checkDirectory(directory)
      return try PrivateFile.read(path).revealText() ?? ""
    } catch let error as PKIError {
      throw ToolError(error.description)
    }
  }

  /// Keeps `profile` and makes it the one in use.
  public func save(_ profile: Profile) throws {
    try PrivateFile.makeDirectory(directory)
    try PrivateFile.write(try YAMLEncoder().encode(profile), to: try path(profile.name))
    try use(profile)
  }

  /// Makes a stored login the one in use.
  public func use(_ profile: Profile) throws { try PrivateFile.write(profile.name + "\n", to: currentPath) }

  // MARK: Keys

  public func save(_ identity: ClientIdentity, hostCAPEM: String, for profile: Profile) throws {
    let folder = try keyFolder(profile)
    try PrivateFile.write(identity.keyPEM, to: folder + "/\(try Self.fileName(profile.user))")
    try PrivateFile.write(identity.certificatePEM, to: folder + "/\(try Self.fileName(profile.user)).crt")
    try saveHostCA(hostCAPEM, for: profile)
  }

  /// Keeps the CA that database clients trust the proxy by.
  public func saveHostCA(_ pem: String, for profile: Profile) throws {
    try PrivateFile.write(pem, to: try keyFolder(profile) + "/certs.pem")
  }

  /// The user's certificate and key, and the CA to trust the cluster by.
  public func identity(_ profile: Profile) throws -> (identity: ClientIdentity, hostCAPEM: String) {
    let folder = try keyFolder(profile)
    let name = try Self.fileName(profile.user)
    do {
      return (
        ClientIdentity(
          certificatePEM: try PrivateFile.read(folder + "/\(name).crt").revealText() ?? "",
          keyPEM: try PrivateFile.read(folder + "/\(name)")),
        try PrivateFile.read(folder + "/certs.pem").revealText() ?? ""
      )
    } catch {
      throw ToolError("\(error)", hint: profile.loginCommand)
    }
  }

  // MARK: Databases

  /// Where libpq finds certificate, key and CA of one database.
  public func databaseFiles(_ profile: Profile, _ name: String) throws -> DatabaseFiles {
    let base = try databaseFolder(profile) + "/\(try Self.fileName(name))"
    return DatabaseFiles(certificate: base + ".crt", key: base + ".key", ca: try keyFolder(profile) + "/certs.pem")
  }

  /// The databases logged in to, read from their certificates.
  public func databases(_ profile: Profile) throws -> [StoredDatabase] {
    let folder = try databaseFolder(profile)
    guard FileManager.default.fileExists(atPath: folder) else { return [] }
    return try FileManager.default.contentsOfDirectory(atPath: folder).sorted().filter { $0.hasSuffix(".crt") }
      .compactMap { file in
        let identity = try UserIdentity(certificatePEM: try read(folder + "/" + file))
        return try identity.route.map { route in
          StoredDatabase(
            name: route.service, user: route.databaseUser, database: route.databaseName,
            validUntil: identity.notValidAfter, files: try databaseFiles(profile, route.service))
        }
      }
  }

  public func removeDatabase(_ profile: Profile, _ name: String) throws {
    let files = try databaseFiles(profile, name)
    for path in [files.certificate, files.key] where FileManager.default.fileExists(atPath: path) {
      try FileManager.default.removeItem(atPath: path)
    }
  }

  private func databaseFolder(_ profile: Profile) throws -> String {
    let folder = try keyFolder(profile) + "/\(try Self.fileName(profile.user))-db/\(try Self.fileName(profile.cluster))"
    try PrivateFile.makeDirectory(folder)
    return folder
  }

  // MARK: Logging out

  /// Forgets one login and everything that hangs on it.
  public func remove(_ profile: Profile) throws {
    if try current()?.name == profile.name { try FileManager.default.removeItem(atPath: currentPath) }
    for path in [directory + "/keys/\(try Self.fileName(profile.name))", try path(profile.name)]
    where FileManager.default.fileExists(atPath: path) {
      try FileManager.default.removeItem(atPath: path)
    }
  }

  /// Forgets all logins, readable or not.
  public func removeAll() throws {
    guard FileManager.default.fileExists(atPath: directory) else { return }
    for file in try FileManager.default.contentsOfDirectory(atPath: directory)
    where file == "keys" || file == "current-profile" || file.hasSuffix(".yaml") {
      try FileManager.default.removeItem(atPath: directory + "/" + file)
    }
  }

  private func keyFolder(_ profile: Profile) throws -> String {
    let folder = directory + "/keys/\(try Self.fileName(profile.name))"
    try PrivateFile.makeDirectory(folder)
    return folder
  }

  /// Names come from the server and the command line: none may leave its folder.
  static func fileName(_ name: String) throws -> String {
    let isSafe =
      !name.isEmpty && name.utf8.count <= 200 && !name.hasPrefix(".") && !name.contains("..")
      && name.unicodeScalars.allSatisfy { $0 != "/" && $0 != "\\" && $0.properties.generalCategory != .control }
    guard isSafe else { throw ToolError("'\(Terminal.safe(name))' cannot be used as a file name") }
    return name
  }
}

/// Paths of one database's certificate, key and CA.
public struct DatabaseFiles: Sendable {
  public let certificate: String
  public let key: String
  public let ca: String

  public init(certificate: String, key: String, ca: String) {
    self.certificate = certificate
    self.key = key
    self.ca = ca
  }
}

/// A database whose certificate is stored.
public struct StoredDatabase: Sendable {
  public let name: String
  /// Fields that the certificate leaves open are `nil`.
  public let user: String?
  public let database: String?
  public let validUntil: Date
  public let files: DatabaseFiles

  public init(name: String, user: String?, database: String?, validUntil: Date, files: DatabaseFiles) {
    self.name = name
    self.user = user
    self.database = database
    self.validUntil = validUntil
    self.files = files
  }
}
