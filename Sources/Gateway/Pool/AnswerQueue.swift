/// What a server connection still owes to the messages it was sent, in their order.
struct AnswerQueue {
  /// By the message that is answered.
  enum Kind {
    case parse, bind, describe, execute, close, sync, query, function
    /// CopyDone or CopyFail, which are not answered by themselves.
    case copyEnd
  }

  /// Who hears of the answer.
  enum Audience {
    /// The client, from the database.
    case client
    /// Nobody: the message was not the client's.
    case nobody
    /// The client, from us: the database was not asked.
    case invented
  }

  /// A change that was made when the message was sent, in the belief that it would be carried out.
  enum Change {
    /// A name of the client's got another meaning; what it stood for before.
    case clientName([UInt8], before: PreparedStatement?)
    /// The connection has that statement.
    case added(UInt64)
    /// It has not any more.
    case removed(UInt64)
    /// Its unnamed statement is another one.
    case unnamed
  }

  struct Entry {
    let kind: Kind
    var audience = Audience.client
    var changes: [Change] = []
  }

  private var entries: [Entry] = []
  /// Entries before it are answered.
  private var start = 0
  private static let maximumAnswered = 1024
  /// The database takes COPY data until the client ends it; a Sync before that is not answered.
  private(set) var isCopyingIn = false
  /// An error has come whose Sync the client has yet to send: till then the database ignores everything.
  private(set) var isSkipping = false

  var isEmpty: Bool { start == entries.count }
  var count: Int { entries.count - start }
  var head: Entry? { isEmpty ? nil : entries[start] }

  mutating func append(_ entry: Entry) {
    switch entry.kind {
    case .sync:
      // Read by the COPY, which ignores it.
      guard !isCopyingIn else { return }
      isSkipping = false
    case .copyEnd:
      if isCopyingIn {
        isCopyingIn = false
        return
      }
      if isEmpty { return }
    default: break
    }
    entries.append(entry)
  }

  mutating func removeHead() {
    guard !isEmpty else { return }
    start += 1
    dropCopyEnds()
    // A pipeline may never be empty: what is answered must not pile up before the rest.
    if start == entries.count || start >= Self.maximumAnswered && start >= count {
      entries.removeFirst(start)
      start = 0
    }
  }

  private mutating func dropCopyEnds() {
    while start < entries.count, entries[start].kind == .copyEnd { start += 1 }
  }

  /// CopyInResponse: Syncs that were sent before the end of the data will not be answered.
  mutating func copyInBegan() {
    let rest = entries[start...]
    let end = rest.firstIndex { $0.kind == .copyEnd }
    isCopyingIn = end == nil
    let before = rest[..<(end ?? rest.endIndex)].filter { $0.kind != .sync }
    let after = end.map { rest[($0 + 1)...] } ?? []
    entries = Array(before + after)
    start = 0
  }

  /// The statement that copied is complete.
  mutating func copyEnded() { isCopyingIn = false }

  /// ErrorResponse. Within the extended protocol the database ignores everything up to the next Sync.
  ///
  /// - Returns: what will never be answered, in order.
  mutating func failed() -> [Entry] {
    isCopyingIn = false
    switch head?.kind {
    // Answered by ReadyForQuery in spite of it, or not an answer at all.
    case .query, .function, .sync, nil: return []
    default: break
    }
    let rest = entries[start...]
    let sync = rest.firstIndex { $0.kind == .sync }
    isSkipping = sync == nil
    let dropped = Array(rest[..<(sync ?? rest.endIndex)])
    entries = sync.map { Array(rest[$0...]) } ?? []
    start = 0
    return dropped
  }
}
