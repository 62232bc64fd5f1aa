import ControlAPI
import Foundation
import PKI
import StateStore

/// The places that bound how many sessions a user has at once, over all hosts (`max_connections` of roles).
extension AuthServer {
  /// Seconds after which a place that nobody renewed is forgotten: an Auth Service that was away for so long counts anew.
  private static let forgottenAfter = 86_400.0
  private static let maximumIDLength = 64

  /// Gives the session of the certificate's user a place, if one is free.
  ///
  /// The limit is that of the user's roles as they are here, and the user is whom the certificate names: a host can take
  /// places of nobody who has not connected to it.
  public func lease(_ request: SessionLeaseRequest, by host: String) throws -> SessionLeaseAnswer {
    guard (1...Self.maximumIDLength).contains(request.session.utf8.count) else {
      throw AuthError.invalid("the session's ID is not valid")
    }
    guard request.ended.count <= SessionLeaseRenewal.maximum else { throw Self.tooManySessions }
    let identity: UserIdentity
    do {
      identity = try trustedAuthorities.user(certificateDER: Array(request.certificate))
    } catch {
      throw AuthError.invalid("the user's certificate is not of this cluster")
    }
    guard let limit = try checker(for: identity).maxConnections else {
      return SessionLeaseAnswer(isGranted: true, limit: 0)
    }
    let now = Date().timeIntervalSince1970
    let isGranted = try state.database.write { database in
      try Self.giveBack(request.ended, of: host, in: database)
      try database.execute(
        sql: "DELETE FROM session_lease WHERE expires <= ?", arguments: [now - Self.forgottenAfter])
      let taken = try Int.fetchOne(
        database, sql: "SELECT count(*) FROM session_lease WHERE username = ? AND expires > ?",
        arguments: [identity.username, now])
      guard taken ?? 0 < limit else { return false }
      try database.execute(
        sql: "INSERT INTO session_lease VALUES (?, ?, ?, ?)",
        arguments: [request.session, identity.username, host, now + SessionLeaseRenewal.lifetime])
      return true
    }
    return SessionLeaseAnswer(isGranted: isGranted, limit: limit)
  }

  /// Keeps places of `host` and gives others back.
  public func renewLeases(_ renewal: SessionLeaseRenewal, by host: String) throws {
    guard max(renewal.held.count, renewal.ended.count) <= SessionLeaseRenewal.maximum else {
      throw Self.tooManySessions
    }
    let expires = Date().timeIntervalSince1970 + SessionLeaseRenewal.lifetime
    try state.database.write { database in
      for session in renewal.held {
        try database.execute(
          sql: "UPDATE session_lease SET expires = ? WHERE session = ? AND host = ?",
          arguments: [expires, session, host])
      }
      try Self.giveBack(renewal.ended, of: host, in: database)
    }
  }

  private static func giveBack(_ ended: [String], of host: String, in database: Database) throws {
    for session in ended {
      try database.execute(
        sql: "DELETE FROM session_lease WHERE session = ? AND host = ?", arguments: [session, host])
    }
  }

  private static let tooManySessions = AuthError.invalid(
    "at most \(SessionLeaseRenewal.maximum) sessions can be named at once")
}
