import ControlAPI
import ControlClient
import Foundation
import PKI

/// A database with a certificate on disk, ready to connect to.
struct DatabaseSession {
  let profile: Profile
  let database: StoredDatabase

  /// What libpq needs to know; the certificate's route selects the database service.
  var environment: [String: String] {
    var environment = [
      "PGHOST": profile.host, "PGPORT": profile.port, "PGSSLMODE": "verify-full",
      "PGSSLROOTCERT": database.files.ca, "PGSSLCERT": database.files.certificate, "PGSSLKEY": database.files.key,
      "PGGSSENCMODE": "disable",
    ]
    environment["PGUSER"] = database.user
    environment["PGDATABASE"] = database.database
    return environment
  }

  /// The same by libpq's own names, for service files and connection strings.
  var settings: [(key: String, value: String)] {
    var settings = [("host", profile.host), ("port", profile.port)]
    if let user = database.user { settings.append(("user", user)) }
    if let name = database.database { settings.append(("dbname", name)) }
    settings += [
      ("sslmode", "verify-full"), ("sslrootcert", database.files.ca), ("sslcert", database.files.certificate),
      ("sslkey", database.files.key), ("gssencmode", "disable"),
    ]
    return settings.map { (key: $0.0, value: $0.1) }
  }

  var serviceName: String { "\(profile.cluster)-\(database.name)" }
}

/// Listing databases and getting certificates for them.
enum DatabaseAccess {
  static func list(_ credentials: Credentials, insecure: Bool) async throws -> [DatabaseListing] {
    try await credentials.withClient(insecure: insecure) { try await $0.get("/v1/databases") }
  }

  /// A certificate and its key, fresh from the cluster.
  struct Issued: Sendable {
    /// Of the database, in full.
    let name: String
    /// `nil`: the certificate leaves it to the client.
    let user: String?
    let database: String?
    let identity: ClientIdentity
    let validUntil: Date
    /// CAs to trust the cluster by: newer than those of the login, if there was a rotation since.
    let hostCAPEM: String
  }

  /// Asks for a certificate of one database.
  ///
  /// - Parameters:
  ///   - user, database: if left out, what an earlier login chose, else the only choice that the roles leave.
  ///   - leavesOpen: leave to the client what was not asked for.
  static func issue(
    _ name: String, user: String?, database: String?, leavesOpen: Bool = false, _ credentials: Credentials,
    insecure: Bool
  ) async throws -> Issued {
    try await credentials.withClient(insecure: insecure) { client in
      let listing = try await listing(name, client)
      let (user, database) =
        leavesOpen
        ? (user, database) : try choose(listing, user: user, database: database, credentials.profile)
      return try await issue(listing, user: user, database: database, credentials.profile, client)
    }
  }

  /// The database as the user's roles show it.
  static func listing(_ name: String, _ client: APIClient) async throws -> DatabaseListing {
    try find(name, among: try await client.get("/v1/databases"))
  }

  /// What was asked for, else what an earlier login chose, else the only choice that the roles leave.
  static func choose(
    _ listing: DatabaseListing, user: String?, database: String?, _ profile: Profile
  ) throws -> (user: String?, database: String?) {
    let earlier = try stored(profile).first { $0.name == listing.name }
    return (
      try pick(user ?? earlier?.user, from: listing.allowedUsers, flag: "--db-user"),
      try pick(database ?? earlier?.database, from: listing.allowedNames, flag: "--db-name")
    )
  }

  /// Asks for a certificate of the database for that user and that name in it; `nil` leaves a field to the client.
  static func issue(
    _ listing: DatabaseListing, user: String?, database: String?, _ profile: Profile, _ client: APIClient
  ) async throws -> Issued {
    let key = KeyPair.generate()
    let response: DatabaseCertificateResponse = try await client.post(
      "/v1/certificates/database",
      DatabaseCertificateRequest(
        service: listing.name, databaseUser: user, databaseName: database,
        signingRequestPEM: try key.signingRequestPEM(commonName: profile.user)))
    return Issued(
      name: listing.name, user: user, database: database,
      identity: ClientIdentity(certificatePEM: response.certificatePEM, keyPEM: key.pem),
      validUntil: response.validUntil, hostCAPEM: response.hostCAPEM)
  }

  /// The database of that name; else the only one that has the name in AWS, before its place was added to it.
  private static func find(_ name: String, among databases: [DatabaseListing]) throws -> DatabaseListing {
    if let listing = databases.first(where: { $0.name == name }) { return listing }
    let called = databases.filter { $0.labels["teleport.internal/discovered-name"] == name }
    guard let only = called.first else {
      throw ToolError("database '\(name)' not found", hint: "see 'tsh db ls' for those you can reach")
    }
    guard called.count == 1 else {
      throw ToolError(
        "several databases are called '\(name)' in AWS", hint: "name one: \(called.map(\.name).joined(separator: ", "))"
      )
    }
    return only
  }

  /// Gets and stores a certificate for a database.
  static func logIn(
    _ name: String, user: String?, database: String?, _ credentials: Credentials, insecure: Bool
  ) async throws -> DatabaseSession {
    let issued = try await issue(name, user: user, database: database, credentials, insecure: insecure)
    let (store, name) = (ProfileStore(), issued.name)
    let files = try store.databaseFiles(credentials.profile, name)
    try store.saveHostCA(issued.hostCAPEM, for: credentials.profile)
    try PrivateFile.write(issued.identity.keyPEM, to: files.key)
    try PrivateFile.write(issued.identity.certificatePEM, to: files.certificate)
    return DatabaseSession(
      profile: credentials.profile,
      database: StoredDatabase(
        name: name, user: issued.user, database: issued.database, validUntil: issued.validUntil, files: files))
  }

  /// After a fresh login: the databases logged in to get certificates of the new lifetime and roles.
  static func renewAll(_ credentials: Credentials, insecure: Bool) async throws {
    for database in try stored(credentials.profile) {
      do {
        _ = try await logIn(
          database.name, user: database.user, database: database.database, credentials, insecure: insecure)
      } catch let error as ToolError {
        try logOut(of: [database], credentials.profile)
        FileHandle.standardError.write(
          Data("WARNING: logged out of database \(database.name): \(Terminal.safe("\(error)"))\n".utf8))
      }
    }
  }

  static func stored(_ profile: Profile) throws -> [StoredDatabase] { try ProfileStore().databases(profile) }

  /// A database that was logged in to before; without a name, the only one.
  static func session(_ name: String?, _ profile: Profile) throws -> DatabaseSession {
    let candidates = try stored(named: name, profile)
    guard let database = candidates.first, candidates.count == 1 else {
      throw ToolError(
        candidates.isEmpty
          ? "not logged in to \(name.map { "database '\($0)'" } ?? "any database")" : "logged in to several databases",
        hint: candidates.isEmpty ? "run: tsh db login \(name ?? "NAME")" : "name one of them; see 'tsh db ls'")
    }
    guard database.validUntil > Date() else {
      throw ToolError(
        "the certificate for database '\(database.name)' has expired", hint: "run: tsh db login \(database.name)")
    }
    return DatabaseSession(profile: profile, database: database)
  }

  /// Those of that name that were logged in to, or whose name begins with it as those of discovered ones do; all without.
  static func stored(named name: String?, _ profile: Profile) throws -> [StoredDatabase] {
    let all = try stored(profile)
    guard let name else { return all }
    let exact = all.filter { $0.name == name }
    return exact.isEmpty ? all.filter { $0.name.hasPrefix("\(name)-redshift") } : exact
  }

  static func logOut(of databases: [StoredDatabase], _ profile: Profile) throws {
    try PostgresServiceFile().remove(databases.map { DatabaseSession(profile: profile, database: $0).serviceName })
    for database in databases { try ProfileStore().removeDatabase(profile, database.name) }
  }

  static func serviceNames(_ profiles: [Profile], _ store: ProfileStore) throws -> [String] {
    try profiles.flatMap { profile in
      try store.databases(profile).map { DatabaseSession(profile: profile, database: $0).serviceName }
    }
  }

  /// What was asked for, or the only thing that is allowed.
  private static func pick(_ asked: String?, from allowed: [String], flag: String) throws -> String {
    if let asked { return asked }
    let choices = allowed.filter { !$0.contains("*") && !$0.hasPrefix("^") }
    guard let only = choices.first, allowed.count == 1 else {
      throw ToolError("\(flag) is needed", hint: "allowed: \(allowed.joined(separator: ", "))")
    }
    return only
  }
}
