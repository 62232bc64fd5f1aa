import AccessControl
import Gateway
import PostgresWire

/// Whom a session is for, and the way to end it: what locks act on.
struct LockableSession {
  let id: String
  let user: String
  let roles: [String]
  /// Name of the database in the cluster.
  let database: String
  /// ID of the host that serves it.
  let server: String
  let control: SessionControl

  /// The lock of `locks` that shuts it out, if any.
  func lock(among locks: [Lock]) -> Lock? {
    locks.first { $0.hits(user: user, roles: roles, database: database, session: id, server: server) }
  }
}

extension DatabaseAuthorizer {
  /// Ends running sessions that a lock in force shuts out; to be called whenever locks may have changed.
  ///
  /// A session between this and its start looks at the locks once more by itself (`sessionStarting`). Returns when each
  /// is told, or after a second of reactors too busy to be told anything; the next change or login looks again.
  ///
  /// - Throws: what reading the locks throws.
  public func applyLocks() async throws {
    let locks = try self.locks()
    guard !locks.isEmpty else { return }
    var waiting = lockableSessions.compactMap { session in session.lock(among: locks).map { (session, $0) } }
    for _ in 0..<Self.attempts {
      waiting = waiting.filter { session, lock in
        !session.control.end(
          reason: "lock '\(lock.metadata.name)'", telling: WireError(.adminShutdown, "the session is \(lock.notice)"))
      }
      if waiting.isEmpty { return }
      try await Task.sleep(for: .milliseconds(20))
    }
    throw LocksNotApplied(count: waiting.count)
  }

  private static let attempts = 50
}

/// Reactors had no room for the order to end sessions.
struct LocksNotApplied: Error, CustomStringConvertible {
  let count: Int
  var description: String { "\(count) locked sessions could not be ended: the reactors are overloaded" }
}
