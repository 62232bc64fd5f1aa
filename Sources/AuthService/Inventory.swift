import ControlAPI
import Foundation
import PKI
import StateStore

/// The hosts of the cluster: which were seen, which are shut out.
extension AuthServer {
  /// Hosts whose certificate is still good, by name; one that runs no more stays until then.
  func inventory() throws -> [HostListing] {
    let locks = try locks()
    return try state.database.read { database in
      try Row.fetchAll(
        database, sql: "SELECT * FROM host WHERE certificate_expires > ? ORDER BY name, id",
        arguments: [Date().timeIntervalSince1970]
      ).map { row in
        let (id, services): (String, String) = try (row["id"], row["services"])
        return HostListing(
          hostID: id, name: try row["name"], services: services.split(separator: ",").map(String.init),
          version: try row["version"], lastSeen: Date(timeIntervalSince1970: try row["last_seen"]),
          certificateExpires: Date(timeIntervalSince1970: try row["certificate_expires"]),
          lock: locks.first { $0.hits(host: id) }?.metadata.name)
      }
    }
  }

  static func enter(_ host: HostIdentity, version: String?, now: Double, in database: Database) throws {
    try database.execute(sql: "DELETE FROM host WHERE certificate_expires <= ?", arguments: [now])
    try database.execute(
      sql: """
        INSERT INTO host (id, name, services, version, last_seen, certificate_expires) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, services = excluded.services,
          version = excluded.version, last_seen = excluded.last_seen,
          certificate_expires = excluded.certificate_expires
        """,
      arguments: [
        host.hostID, host.name, host.services.map(\.rawValue).joined(separator: ","),
        String((version ?? "").prefix(64)), now, host.notValidAfter.timeIntervalSince1970,
      ])
  }

  /// Whether the host offers the database now.
  func serves(_ hostID: String, _ database: String) throws -> Bool {
    try state.database.read { state in
      try String.fetchOne(
        state, sql: "SELECT name FROM host_database WHERE host = ? AND name = ? AND expires > ?",
        arguments: [hostID, database, Date().timeIntervalSince1970]) != nil
    }
  }

  /// Throws if a lock shuts the host out.
  func refuseLocked(host hostID: String) throws {
    guard let lock = try locks().first(where: { $0.hits(host: hostID) }) else { return }
    throw AuthError.forbidden(
      "this host is \(lock.notice)", hint: "the administrator lifts it with 'tctl rm lock/\(lock.metadata.name)'")
  }
}
