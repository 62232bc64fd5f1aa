import AccessControl
import Audit
import ControlAPI
import Foundation
import StateStore

/// Databases that are resources of the cluster: Database Services learn of them by the snapshot.
extension DatabaseResource: ManagedResource {
  static func list(of auth: AuthServer, withSecrets: Bool) throws -> [DatabaseResource] {
    try auth.databaseResources().map { try $0.withRevision() }
  }

  static func put(
    _ request: ResourceRequest<DatabaseResource>, to auth: AuthServer, by actor: String
  ) throws -> ResourceResponse { try auth.putDatabase(request, by: actor) }

  static func remove(_ name: String, from auth: AuthServer, by actor: String) throws {
    try auth.removeDatabase(name, by: actor)
  }
}

extension AuthServer {
  /// As many as one host may report (`heartbeat`).
  private static let maximumDatabaseResources = 10_000

  /// Those that Database Services may serve.
  public func servableDatabases() throws -> [DatabaseResource] {
    try state.database.read { try Self.servableDatabases(in: $0) }
  }

  /// All of them, whether a host serves them or not.
  func databaseResources() throws -> [DatabaseResource] {
    try state.database.read { try Self.databaseResources(in: $0) }
  }

  /// Those that can be read: one that this version cannot must not keep the others, nor roles and users, from the hosts.
  static func servableDatabases(in database: Database) throws -> [DatabaseResource] {
    try String.fetchAll(database, sql: "SELECT json FROM db ORDER BY name").compactMap {
      try? JSONDecoder().decode(DatabaseResource.self, from: Data($0.utf8))
    }
  }

  private static func databaseResources(in database: Database) throws -> [DatabaseResource] {
    try Row.fetchAll(database, sql: "SELECT name, json FROM db ORDER BY name").map { row in
      let (name, json): (String, String) = try (row["name"], row["json"])
      do {
        return try JSONDecoder().decode(DatabaseResource.self, from: Data(json.utf8))
      } catch {
        throw AuthError.internal(
          "db '\(name)' as stored cannot be read (\(error)); replace it with 'tctl create --force'")
      }
    }
  }

  /// Makes a database, or replaces one.
  func putDatabase(_ request: ResourceRequest<DatabaseResource>, by actor: String) throws -> ResourceResponse {
    try request.validate()
    let resource = request.stored
    let replaced = try state.database.write { database in
      let present = try String.fetchOne(database, sql: "SELECT json FROM db WHERE name = ?", arguments: [resource.name])
      let replaced = try request.check(exists: present != nil) {
        try? present.map { try JSONDecoder().decode(DatabaseResource.self, from: Data($0.utf8)) }
      }
      if !replaced { try Self.refuseMore(in: database) }
      try Self.store(resource, in: database)
      return replaced
    }
    record(resource, replaced: replaced, by: actor)
    return ResourceResponse(name: resource.name, replaced: replaced)
  }

  /// - Throws: `AuthError.invalid` if there are as many as there may be.
  static func refuseMore(in database: Database) throws {
    let count = try Int.fetchOne(database, sql: "SELECT count(*) FROM db") ?? 0
    guard count < maximumDatabaseResources else {
      throw AuthError.invalid("there are \(count) databases already", hint: "remove some with 'tctl rm db/NAME'")
    }
  }

  static func store(_ resource: DatabaseResource, in database: Database) throws {
    try database.execute(
      sql: "INSERT INTO db (name, json) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET json = excluded.json",
      arguments: [resource.name, String(decoding: try JSONEncoder().encode(resource), as: UTF8.self)])
  }

  /// Enters in the audit log that a database was made or changed.
  func record(_ resource: DatabaseResource, replaced: Bool, by actor: String) {
    var event = AuditEvent(replaced ? "db.update" : "db.create", code: replaced ? "TDB04I" : "TDB03I")
    event.clusterName = clusterName
    event.user = actor
    event.name = resource.name
    event.databaseProtocol = resource.spec.protocol
    event.databaseURI = resource.spec.uri
    audit.emit(event)
  }

  func removeDatabase(_ name: String, by actor: String) throws {
    try state.database.write { database in
      try Self.removeDatabase(name, in: database)
      guard database.changesCount > 0 else {
        throw AuthError.notFound(
          "db '\(name)' was not made with 'tctl create'; see 'tctl db ls' for where databases come from")
      }
    }
    emit("db.delete", "TDB05I", name: name, by: actor)
  }

  static func removeDatabase(_ name: String, in database: Database) throws {
    try database.execute(sql: "DELETE FROM db WHERE name = ?", arguments: [name])
  }
}
