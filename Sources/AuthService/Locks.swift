import AccessControl
import Audit
import ControlAPI
import Foundation
import StateStore

/// Locks: made, listed, removed, and applied to who calls.
extension AuthServer {
  /// Locks are looked through at each decision.
  private static let maximumLocks = 10_000

  /// All locks in force.
  public func locks() throws -> [Lock] {
    try decisions.locks { try state.database.read { try Self.locks(in: $0) } }.filter { !$0.isOver() }
  }

  /// Those that are over as well, for who keeps them: a clock that was ahead may be put right.
  static func locks(in database: Database) throws -> [Lock] {
    try Row.fetchAll(database, sql: "SELECT name, json FROM lock ORDER BY name").map { row in
      let (name, json): (String, String) = try (row["name"], row["json"])
      do {
        return try JSONDecoder().decode(Lock.self, from: Data(json.utf8))
      } catch {
        // A lock that cannot be read must not be passed over.
        throw AuthError.internal(
          "lock '\(name)' as stored cannot be read (\(error)); remove it with 'tctl rm lock/\(name)'")
      }
    }
  }

  /// Makes a lock, or replaces one.
  func putLock(_ request: ResourceRequest<Lock>, by actor: String) throws -> ResourceResponse {
    try request.validate()
    let lock = request.stored
    guard !lock.isOver() else { throw AuthError.invalid("the lock would be over already", hint: "choose a later end") }
    let name = lock.name
    let json = String(decoding: try JSONEncoder().encode(lock), as: UTF8.self)
    let replaced = try state.database.write { database in
      let now = Date().timeIntervalSince1970
      try database.execute(sql: "DELETE FROM lock WHERE expires <= ?", arguments: [now])
      let present = try String.fetchOne(database, sql: "SELECT json FROM lock WHERE name = ?", arguments: [name])
      let replaced = try request.check(exists: present != nil) {
        try? present.map { try JSONDecoder().decode(Lock.self, from: Data($0.utf8)) }
      }
      let count = try Int.fetchOne(database, sql: "SELECT count(*) FROM lock") ?? 0
      guard replaced || count < Self.maximumLocks else {
        throw AuthError.invalid("there are \(count) locks already", hint: "lock a role instead of many users")
      }
      try database.execute(
        sql: """
          INSERT INTO lock VALUES (?, ?, ?)
          ON CONFLICT (name) DO UPDATE SET json = excluded.json, expires = excluded.expires
          """, arguments: [name, json, lock.expires?.timeIntervalSince1970])
      if let host = lock.spec.target.serverID, lock.hits(host: host) {
        // It can no longer report: what it offered must not stay until it runs out.
        try database.execute(sql: "DELETE FROM host_database WHERE host = ?", arguments: [host])
        try database.execute(sql: "DELETE FROM host_proxy WHERE host = ?", arguments: [host])
      }
      return replaced
    }
    var event = AuditEvent("lock.created", code: "TLK00I")
    event.clusterName = clusterName
    event.user = actor
    event.name = name
    event.message = lock.spec.message
    event.extra = [("target", .pairs(lock.spec.target.fields))]
    if let expires = lock.spec.expires { event.extra.append(("expires", .text(expires))) }
    audit.emit(event)
    return ResourceResponse(name: name, replaced: replaced)
  }

  func removeLock(_ name: String, by actor: String) throws {
    try state.database.write { database in
      try database.execute(sql: "DELETE FROM lock WHERE name = ?", arguments: [name])
      guard database.changesCount > 0 else {
        throw AuthError.notFound("lock '\(name)' does not exist; see 'tctl get locks'")
      }
    }
    emit("lock.deleted", "TLK01I", name: name, by: actor)
  }

  /// Throws if a lock shuts the user out, of `database` or, where that is `nil`, of the cluster.
  func refuseLocked(user: String, roles: [String], database: String? = nil) throws {
    // Who may remove locks from the cluster's own host cannot be locked out of it.
    guard user != Self.localAdministrator,
      let lock = try locks().first(where: { $0.hits(user: user, roles: roles, database: database) })
    else { return }
    throw AuthError.forbidden(lock.notice, hint: "ask the administrator; 'tctl get locks' shows the locks in force")
  }
}
