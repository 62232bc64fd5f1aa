import PostgresWire

/// What became of one client, and what it and its databases wrote and read.
package final class SessionRecord {
  package let number: Int
  /// After the login, in plaintext.
  package var clientSent: [UInt8] = []
  package var clientReceived: [UInt8] = []
  /// ParameterStatus messages of the login.
  package var clientParameters: [UInt8] = []
  package var isReady = false
  /// The client saw the end of its connection, or ended it itself.
  package var isOver = false
  /// Everything it asked for was answered.
  package var isComplete = false
  /// The FATAL error it was told, if any.
  package var refusal: String?
  /// Somebody who may has asked to cancel, or the client has gone.
  package var mayBeCancelled = false
  package var databases: [DatabaseRecord] = []
  /// Virtual milliseconds at which its gateway side began and ended.
  package var endedAt: UInt64?

  init(number: Int) { self.number = number }

  /// What it came to, for who looks at a run.
  package var summary: String {
    let traffic = databases.map { "\($0.received.count) received, \($0.sent.count) sent" }
    return "ready \(isReady), complete \(isComplete), over \(isOver), \(clientSent.count) sent, "
      + "\(clientReceived.count) received, databases \(traffic), \(refusal ?? "no refusal")"
  }
}

/// One connection that reached a database in a session's name.
package final class DatabaseRecord {
  package let session: Int
  package let key: (processID: UInt32, secret: [UInt8])
  package var sent: [UInt8] = []
  package var received: [UInt8] = []
  package var parameters: [UInt8] = []
  package var isReady = false
  package var cancels = 0
  /// Wakes a query that sleeps.
  var onCancel: (() -> Void)?

  init(session: Int, key: (UInt32, [UInt8])) {
    self.session = session
    self.key = key
  }
}

/// What the authorizer of a gateway was told about one grant.
package struct GrantRecord {
  package var starts = 0
  package var failure: WireError?
  package var ends = 0
  package var endReason: String?
}

/// Everything a run is judged by.
///
/// Invariant behind `@unchecked Sendable`: a simulation runs on one thread from its beginning to its end.
package final class Book: @unchecked Sendable {
  package var sessions: [SessionRecord] = []
  package var grants: [String: GrantRecord] = [:]
  package var grantNames: [String] = []
  var databases: [UInt32: DatabaseRecord] = [:]
  private var nextKey: UInt32 = 1000
  /// Cancels that came to a database with a key of no session.
  package var strayCancels = 0

  package init() {}

  func newSession() -> SessionRecord {
    let record = SessionRecord(number: sessions.count)
    sessions.append(record)
    return record
  }

  func newDatabase(session: Int) -> DatabaseRecord {
    nextKey += 1
    let record = DatabaseRecord(session: session, key: (nextKey, Say.word(nextKey &* 2_654_435_761)))
    databases[nextKey] = record
    if sessions.indices.contains(session) { sessions[session].databases.append(record) }
    return record
  }

  func cancel(_ processID: UInt32, _ secret: [UInt8]) {
    guard let record = databases[processID], record.key.secret == secret else {
      strayCancels += 1
      return
    }
    record.cancels += 1
    record.onCancel?()
  }
}
