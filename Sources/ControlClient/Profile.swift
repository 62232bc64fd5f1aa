import ControlAPI
import Foundation
import PKI
import Secrets
import TextForms
import Yams

/// What a login left on disk: ~/.tsh (or TELEPORT_HOME), readable by its owner alone.
///
/// `profile.yaml` names the cluster and user; keys lie under `keys/PROXY/`, database certificates under
/// `keys/PROXY/USER-db/CLUSTER/`.
public struct Profile: Codable, Sendable {
  /// `HOST:PORT` or `[v6]:PORT`.
  public var proxy: String
  /// Who is logged in.
  public var user: String
  /// The cluster's name.
  public var cluster: String
  /// Roles in the certificate.
  public var roles: [String]
  /// Traits in the certificate.
  public var traits: [String: [String]]
  /// End of the certificate's life.
  public var validUntil: Date
  /// Databases whose certificates are stored.
  public var databases: [ProfileDatabase] = []

  public init(
    proxy: String, user: String, cluster: String, roles: [String], traits: [String: [String]], validUntil: Date
  ) {
    self.proxy = proxy
    self.user = user
    self.cluster = cluster
    self.roles = roles
    self.traits = traits
    self.validUntil = validUntil
  }

  /// Host of `proxy`, without the brackets of an IPv6 address.
  public var host: String { HostPort(proxy)?.host ?? "" }
  /// Port of `proxy`.
  public var port: String { HostPort(proxy).map { "\($0.port)" } ?? "" }
}

/// A database whose certificate is stored.
public struct ProfileDatabase: Codable, Sendable {
  /// Name of the database in the cluster.
  public var name: String
  /// Database user the certificate is for.
  public var user: String
  /// Database name it is for.
  public var database: String

  public init(name: String, user: String, database: String) {
    self.name = name
    self.user = user
    self.database = database
  }
}

/// Reads and writes the profile.
public struct ProfileStore: Sendable {
  /// Where it is kept.
  public let directory: String

  /// In TELEPORT_HOME if that is set, else `~/.tsh`.
  public init(environment: [String: String] = ProcessInfo.processInfo.environment) {
    directory = environment["TELEPORT_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory() + "/.tsh"
  }

  private var profilePath: String { directory + "/profile.yaml" }

  /// The current profile; throws with the command to type if there is none or it has expired.
  public func current() throws -> Profile {
    guard FileManager.default.fileExists(atPath: profilePath) else {
      throw ToolError("not logged in", hint: "run: tsh login --proxy=HOST:PORT --user=NAME")
    }
    let profile: Profile
    do {
      try PrivateFile.checkDirectory(directory)
      profile = try YAMLDecoder().decode(Profile.self, from: try PrivateFile.read(profilePath).revealText() ?? "")
    } catch let error as PKIError {
      throw ToolError(error.description)
    } catch {
      throw ToolError("\(profilePath) is damaged", hint: "run: tsh logout, then tsh login")
    }
    guard profile.validUntil > Date() else {
      throw ToolError("the login has expired", hint: "run: tsh login --proxy=\(profile.proxy) --user=\(profile.user)")
    }
    return profile
  }

  /// Writes the profile, private to this user.
  ///
  /// - Throws: `PKIError` if the directory is open to others.
  public func save(_ profile: Profile) throws {
    try PrivateFile.makeDirectory(directory)
    try PrivateFile.write(try YAMLEncoder().encode(profile), to: profilePath)
  }

  /// Writes certificate, key and CA of a login.
  public func save(_ identity: ClientIdentity, hostCAPEM: String, for profile: Profile) throws {
    let folder = try keyFolder(profile)
    try PrivateFile.write(identity.keyPEM, to: folder + "/\(try Self.fileName(profile.user))")
    try PrivateFile.write(identity.certificatePEM, to: folder + "/\(try Self.fileName(profile.user)).crt")
    try PrivateFile.write(hostCAPEM, to: folder + "/certs.pem")
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
      throw ToolError("\(error)", hint: "run: tsh login --proxy=\(profile.proxy) --user=\(profile.user)")
    }
  }

  /// A client that speaks for the logged-in user.
  public func client(insecure: Bool) throws -> (client: APIClient, profile: Profile) {
    let profile = try current()
    let (identity, ca) = try identity(profile)
    return (try APIClient(address: profile.proxy, identity: identity, trustedCAPEMs: [ca], insecure: insecure), profile)
  }

  /// Where psql finds certificate, key and CA of one database.
  public func databaseFiles(_ profile: Profile, _ name: String) throws -> (certificate: String, key: String, ca: String)
  {
    let folder = try keyFolder(profile) + "/\(try Self.fileName(profile.user))-db/\(try Self.fileName(profile.cluster))"
    try PrivateFile.makeDirectory(folder)
    let file = try Self.fileName(name)
    return ("\(folder)/\(file).crt", "\(folder)/\(file).key", try keyFolder(profile) + "/certs.pem")
  }

  /// Removes certificate and key of a database, if they are there.
  public func removeDatabase(_ profile: Profile, _ name: String) throws {
    let files = try databaseFiles(profile, name)
    for path in [files.certificate, files.key] where FileManager.default.fileExists(atPath: path) {
      try FileManager.default.removeItem(atPath: path)
    }
  }

  /// Forgets the login and everything that hangs on it.
  public func removeAll() throws {
    for path in [directory + "/keys", profilePath] where FileManager.default.fileExists(atPath: path) {
      try FileManager.default.removeItem(atPath: path)
    }
  }

  private func keyFolder(_ profile: Profile) throws -> String {
    let folder = directory + "/keys/\(try Self.fileName(profile.host))"
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
