import Audit
import Gateway
import PostgresWire

/// Follows one session's requests and answers in pipeline order and says which statement was executed with what outcome.
///
/// The database answers in order: each Parse, Bind, Describe, Execute and Close by one acknowledgement, each Query,
/// FunctionCall and Sync by a ReadyForQuery. After an error it skips everything up to the next Sync; what it skipped was
/// never executed and is not recorded. A statement is recorded when its outcome is known, or after a second without one.
/// A class, since one is looked up for each message and a copy of its parts would cost more than the work.
final class StatementTracker {
  private var records: StatementRecords
  private var prepared = PreparedStatements()
  private var pending: [Operation] = []
  /// Operations before this index have left the queue.
  private var first = 0
  private var pendingBytes = 0
  private var error: [UInt8] = []
  /// What arrives is skipped by the database until a Sync.
  private var isSkipping = false
  /// Entries were lost: outcomes cannot be told apart until the client has nothing under way.
  private var isLost = false
  private var hasFailed = false

  /// Milliseconds after which a statement is recorded without its outcome.
  static let patience: UInt64 = 1_000
  /// Operations under way whose text is kept, and of which account is kept at all.
  private static let maximumBytes = 1 << 20
  private static let maximumPending = 65_536

  init(_ records: StatementRecords) { self.records = records }

  // MARK: Entries

  func take(_ entry: QueryRing.Entry, _ bytes: UnsafeRawBufferPointer, _ output: StatementRecords.Output) {
    if entry.flags.contains(.gap) { lose(output) }
    if entry.flags.contains(.response) {
      takeResponse(entry, bytes, output)
    } else if entry.flags.contains(.first) {
      takeRequest(entry, bytes, output)
    } else {
      continueRequest(entry, bytes, output)
    }
  }

  private func takeRequest(
    _ entry: QueryRing.Entry, _ bytes: UnsafeRawBufferPointer, _ output: StatementRecords.Output
  ) {
    guard let operation = Operation(entry, bytes) else { return }
    pending.append(operation)
    pendingBytes += bytes.count
    if entry.flags.contains(.last) { completeRequest(output) }
  }

  private func continueRequest(
    _ entry: QueryRing.Entry, _ bytes: UnsafeRawBufferPointer, _ output: StatementRecords.Output
  ) {
    guard first < pending.count, !pending[pending.count - 1].isComplete else { return }
    pending[pending.count - 1].body += bytes
    pendingBytes += bytes.count
    if entry.flags.contains(.last) { completeRequest(output) }
  }

  private func completeRequest(_ output: StatementRecords.Output) {
    let last = pending.count - 1
    pending[last].isComplete = true
    if isSkipping {
      if pending[last].kind != .sync { return dropLast() }
      isSkipping = false
    }
    if isLost {
      apply(pending[last], .unknown, output)
      return dropLast()
    }
    if pending.count - first > Self.maximumPending { return lose(output) }
    if pendingBytes > Self.maximumBytes { writeOldest(output) }
  }

  private func dropLast() {
    let dropped = pending.removeLast()
    pendingBytes -= dropped.body.count
    if first == pending.count { clear() }
  }

  // MARK: Answers

  private func takeResponse(
    _ entry: QueryRing.Entry, _ bytes: UnsafeRawBufferPointer, _ output: StatementRecords.Output
  ) {
    if entry.acknowledged > 0 { acknowledge(Int(entry.acknowledged), output) }
    if entry.type == UInt8(ascii: "Z") {
      return ready(isIdle: entry.flags.contains(.idle), status: bytes.first, output)
    }
    if entry.flags.contains(.first) { error.removeAll(keepingCapacity: true) }
    error += bytes
    if entry.flags.contains(.last) { fail(ErrorResponse(body: error), output) }
  }

  private func acknowledge(_ count: Int, _ output: StatementRecords.Output) {
    var count = count
    // A Query's own completions come before its ReadyForQuery and say nothing about others.
    while count > 0, let operation = front, operation.isComplete, !operation.endsWithReady {
      removeFront()
      apply(operation, .succeeded, output)
      count -= 1
    }
  }

  private func ready(isIdle: Bool, status: UInt8?, _ output: StatementRecords.Output) {
    while let operation = front, operation.isComplete {
      removeFront()
      // What failed has its record.
      if !(hasFailed && operation.endsWithReady) { apply(operation, .succeeded, output) }
      if operation.endsWithReady { break }
    }
    hasFailed = false
    if status == UInt8(ascii: "I") { prepared.removePortals() }
    if isIdle { (isLost, isSkipping) = (false, false) }
  }

  private func fail(_ response: ErrorResponse, _ output: StatementRecords.Output) {
    guard !isLost, let operation = front, operation.isComplete, !hasFailed else { return }
    apply(operation, .failed(response), output)
    if operation.endsWithReady {
      hasFailed = true
      return
    }
    removeFront()
    // The rest of the pipeline up to the Sync is skipped.
    while let next = front, next.kind != .sync {
      guard next.isComplete else { break }
      removeFront()
    }
    isSkipping = front?.kind != .sync
  }

  // MARK: Queue

  private var front: Operation? { first < pending.count ? pending[first] : nil }

  private func removeFront() {
    pendingBytes -= pending[first].body.count
    pending[first].body = []
    first += 1
    if first == pending.count { return clear() }
    if first > 1_024, first * 2 > pending.count {
      pending.removeFirst(first)
      first = 0
    }
  }

  private func clear() {
    pending.removeAll(keepingCapacity: pending.capacity <= 256)
    (first, pendingBytes) = (0, 0)
  }

  // MARK: Without an outcome

  /// Records what has waited too long for its outcome.
  func writeOverdue(now: UInt64, _ output: StatementRecords.Output) {
    for index in first..<pending.count {
      guard pending[index].isComplete, now >= pending[index].time &+ Self.patience else { return }
      writeEarly(index, output)
    }
  }

  /// Records the older half of what is pending, so that its text need not be kept.
  private func writeOldest(_ output: StatementRecords.Output) {
    for index in first..<pending.count {
      guard pending[index].isComplete, pendingBytes > Self.maximumBytes / 2 else { return }
      writeEarly(index, output)
      pendingBytes -= pending[index].body.count
      pending[index].body = []
    }
  }

  private func writeEarly(_ index: Int, _ output: StatementRecords.Output) {
    guard !pending[index].isWritten else { return }
    // A Query that failed has its record and only waits for its ReadyForQuery.
    if !(hasFailed && index == first) { apply(pending[index], .unknown, output) }
    pending[index].isWritten = true
  }

  /// Entries are missing: what is known is recorded, and no text is kept that could have been replaced since.
  private func lose(_ output: StatementRecords.Output) {
    finish(output)
    prepared = PreparedStatements()
    isLost = true
    isSkipping = false
  }

  /// The session is over: what has no outcome will get none.
  func finish(_ output: StatementRecords.Output) {
    for index in first..<pending.count where pending[index].isComplete { writeEarly(index, output) }
    clear()
    hasFailed = false
  }

  // MARK: Effects

  /// Records an operation and follows what it did to the session's statements.
  private func apply(
    _ operation: Operation, _ outcome: Operation.Outcome, _ output: StatementRecords.Output
  ) {
    if operation.isWritten {
      // Only a failure is news.
      guard case .failed = outcome else { return }
    }
    records.write(operation, outcome, prepared, output)
    if case .failed = outcome { return }
    switch operation.kind {
    case .parse:
      let (name, query) = FrontendMessage.parse(operation.body)
      let length = query.isWhole ? query.bytes.count : max(query.bytes.count, operation.bodyLength - name.count - 4)
      prepared.put(.init(name: name, query: query.bytes, length: length))
    case .bind:
      let bind = FrontendMessage.bind(operation.body)
      prepared.put(records.portal(bind, prepared), named: bind.portal)
    case .close:
      guard let (kind, name) = FrontendMessage.target(operation.body) else { return }
      if kind == UInt8(ascii: "S") { prepared.remove(statement: name) } else { prepared.remove(portal: name) }
    case .query, .execute, .describe, .sync, .functionCall: break
    }
  }
}
