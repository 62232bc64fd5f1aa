import ControlAPI
import ControlClient
import Foundation
import PKI

/// A database with a certificate on disk, ready to connect to.
struct DatabaseSession {
  let profile: Profile
  let entry: ProfileDatabase
  let files: (certificate: String, key: String, ca: String)

  /// What libpq needs to know; the certificate's route selects the database service.
  var environment: [String: String] {
    [
      "PGHOST": profile.host, "PGPORT": profile.port, "PGUSER": entry.user, "PGDATABASE": entry.database,
      "PGSSLMODE": "verify-full", "PGSSLROOTCERT": files.ca, "PGSSLCERT": files.certificate, "PGSSLKEY": files.key,
      "PGGSSENCMODE": "disable",
    ]
  }
}

/// Listing databases and getting certificates for them.
enum DatabaseAccess {
  static func list(insecure: Bool) async throws -> (databases: [DatabaseListing], profile: Profile) {
    let (client, profile) = try ProfileStore().client(insecure: insecure)
    do {
      let databases: [DatabaseListing] = try await client.get("/v1/databases")
      await client.shutDown()
      return (databases, profile)
    } catch {
      await client.shutDown()
      throw error
    }
  }

  /// Gets and stores a certificate for the database.
  static func logIn(_ options: DatabaseOptions, insecure: Bool) async throws -> DatabaseSession {
    let store = ProfileStore()
    var (client, profile) = try store.client(insecure: insecure)
    do {
      let databases: [DatabaseListing] = try await client.get("/v1/databases")
      guard let listing = databases.first(where: { $0.name == options.name }) else {
        throw ToolError("database '\(options.name)' not found", hint: "see 'tsh db ls' for those you can reach")
      }
      let user = try pick(options.dbUser, from: listing.allowedUsers, flag: "--db-user")
      let name = try pick(options.dbName, from: listing.allowedNames, flag: "--db-name")
      let key = KeyPair.generate()
      let response: DatabaseCertificateResponse = try await client.post(
        "/v1/certificates/database",
        DatabaseCertificateRequest(
          service: listing.name, databaseUser: user, databaseName: name,
          signingRequestPEM: try key.signingRequestPEM(commonName: profile.user)))
      let files = try store.databaseFiles(profile, listing.name)
      try PrivateFile.write(key.pem, to: files.key)
      try PrivateFile.write(response.certificatePEM, to: files.certificate)
      let entry = ProfileDatabase(name: listing.name, user: user, database: name)
      profile.databases.removeAll { $0.name == entry.name }
      profile.databases.append(entry)
      try store.save(profile)
      await client.shutDown()
      return DatabaseSession(profile: profile, entry: entry, files: files)
    } catch {
      await client.shutDown()
      throw error
    }
  }

  /// A database that was logged in to before.
  static func stored(_ name: String?) throws -> DatabaseSession {
    let store = ProfileStore()
    let profile = try store.current()
    let candidates = profile.databases.filter { name == nil || $0.name == name }
    guard let entry = candidates.first, candidates.count == 1 else {
      throw ToolError(
        candidates.isEmpty
          ? "not logged in to \(name.map { "database '\($0)'" } ?? "any database")" : "logged in to several databases",
        hint: candidates.isEmpty ? "run: tsh db login NAME" : "name one of them")
    }
    return DatabaseSession(profile: profile, entry: entry, files: try store.databaseFiles(profile, entry.name))
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
