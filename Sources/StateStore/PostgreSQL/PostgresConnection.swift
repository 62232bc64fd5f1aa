import CLibPQ
import Foundation
import Glibc

/// One connection of libpq (PostgreSQL documentation, "libpq"), every wait of which has a deadline.
///
/// For one thread at a time.
final class PostgresConnection {
  // Invariant: made by PQconnectStartParams, finished once, in deinit.
  private let handle: OpaquePointer
  private let place: String

  init(_ settings: ConnectionSettings) throws {
    place = settings.place
    let pairs = settings.parameters.sorted { $0.key < $1.key }
    let started = withCStrings(pairs.map(\.key)) { keywords in
      withCStrings(pairs.map(\.value)) { values in PQconnectStartParams(keywords, values, 0) }
    }
    guard let started else { throw StateError(.unavailable, "there is no memory to connect to \(settings.place)") }
    handle = started
    // A reference is out, so deinit finishes the handle whatever happens from here on.
    let deadline = Deadline(seconds: ConnectionSettings.limit)
    var next = PGRES_POLLING_WRITING
    while next != PGRES_POLLING_OK {
      guard next != PGRES_POLLING_FAILED, PQstatus(handle) != CONNECTION_BAD else {
        throw unavailable("cannot connect")
      }
      try wait(for: next == PGRES_POLLING_READING ? POLLIN : POLLOUT, until: deadline)
      next = PQconnectPoll(handle)
    }
    guard PQsetnonblocking(handle, 1) == 0 else { throw unavailable("cannot connect") }
  }

  deinit { PQfinish(handle) }

  /// Whether the connection, as far as is known, can be used again.
  var isUsable: Bool { PQstatus(handle) == CONNECTION_OK && PQtransactionStatus(handle) == PQTRANS_IDLE }

  /// Runs one statement with `$1` and so on.
  func run(_ sql: String, _ arguments: [ColumnValue] = []) throws -> (rows: [Row], touched: Int) {
    try send(sql, arguments)
    let deadline = Deadline(seconds: 2 * ConnectionSettings.limit)
    try flush(until: deadline)
    var answer: (rows: [Row], touched: Int) = ([], 0)
    var failure: StateError?
    // All results are taken, also after an error: only then may the next statement follow.
    while let result = try nextResult(until: deadline) {
      defer { PQclear(result) }
      switch PQresultStatus(result) {
      case PGRES_COMMAND_OK, PGRES_TUPLES_OK:
        answer = (Self.rows(result), Int(String(cString: PQcmdTuples(result))) ?? 0)
      default: failure = failure ?? Self.failure(result, place)
      }
    }
    if let failure { throw failure }
    return answer
  }

  // MARK: Notifications

  /// Waits up to `seconds` for a notification, and takes all there are.
  ///
  /// - Returns: whether there was one.
  func waitForNotification(seconds: Int) throws -> Bool {
    if takeNotifications() { return true }
    guard try isReady(for: POLLIN, until: Deadline(seconds: seconds)) else { return false }
    guard PQconsumeInput(handle) == 1 else { throw unavailable("the connection is lost") }
    return takeNotifications()
  }

  private func takeNotifications() -> Bool {
    var found = false
    while let notification = PQnotifies(handle) {
      PQfreemem(notification)
      found = true
    }
    return found
  }

  // MARK: Steps

  private func send(_ sql: String, _ arguments: [ColumnValue]) throws {
    let parameters = arguments.map(Parameter.init)
    guard let count = Int32(exactly: parameters.count) else { throw StateError(.refused, "too many values") }
    let sent = withBytes(parameters.map(\.bytes)) { values in
      PQsendQueryParams(
        handle, sql, count, parameters.map(\.type), values, parameters.map { Int32(clamping: $0.bytes?.count ?? 0) },
        parameters.map(\.format), 0)
    }
    guard sent == 1 else { throw unavailable("cannot send") }
  }

  private func flush(until deadline: Deadline) throws {
    while true {
      switch PQflush(handle) {
      case 0: return
      case 1: try wait(for: POLLOUT, until: deadline)
      default: throw unavailable("cannot send")
      }
    }
  }

  private func nextResult(until deadline: Deadline) throws -> OpaquePointer? {
    while PQisBusy(handle) == 1 {
      try wait(for: POLLIN, until: deadline)
      guard PQconsumeInput(handle) == 1 else { throw unavailable("the connection is lost") }
    }
    return PQgetResult(handle)
  }

  private func wait(for event: Int32, until deadline: Deadline) throws {
    guard try isReady(for: event, until: deadline) else {
      throw StateError(.unavailable, "\(place): no answer in time")
    }
  }

  /// - Returns: `false` if the deadline came first.
  private func isReady(for event: Int32, until deadline: Deadline) throws -> Bool {
    var entry = pollfd(fd: PQsocket(handle), events: Int16(truncatingIfNeeded: event), revents: 0)
    while true {
      let left = deadline.milliseconds
      guard left > 0 else { return false }
      let count = poll(&entry, 1, left)
      if count > 0 { return true }
      guard count == 0 || errno == EINTR else { throw unavailable(String(cString: strerror(errno))) }
    }
  }

  // MARK: Errors and rows

  private func unavailable(_ what: String) -> StateError {
    let reason = PQerrorMessage(handle).map { Self.line(String(cString: $0)) } ?? ""
    return StateError(.unavailable, "\(place): \(what)" + (reason.isEmpty ? "" : ": \(reason)"))
  }

  private static func failure(_ result: OpaquePointer, _ place: String) -> StateError {
    func field(_ code: Int32) -> String? { PQresultErrorField(result, code).map { line(String(cString: $0)) } }
    // PG_DIAG_SQLSTATE and PG_DIAG_MESSAGE_PRIMARY are characters, which Swift imports as such.
    let state = field(Int32(UInt8(ascii: "C"))) ?? ""
    let message = field(Int32(UInt8(ascii: "M"))) ?? "no reason given"
    // disk_full
    if state == "53100" { return StateError(.full, "\(place): \(message) (\(state))") }
    // Classes (appendix A): 08 connection, 40 rollback, 53 resources, 55 object state, 57 intervention, 25006 read-only.
    let passing = ["08", "40", "53", "55", "57"].contains(state.prefix(2)) || state == "25006"
    return StateError(passing ? .unavailable : .refused, "\(place): \(message) (\(state))")
  }

  private static func line(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }.joined(separator: "; ")
  }

  private static func rows(_ result: OpaquePointer) -> [Row] {
    let columns = (0..<PQnfields(result)).map { column in
      (name: PQfname(result, column).map { String(cString: $0) } ?? "", type: PQftype(result, column))
    }
    return (0..<PQntuples(result)).map { row in
      Row(
        columns.enumerated().map { index, column in
          let index = Int32(truncatingIfNeeded: index)
          guard PQgetisnull(result, row, index) == 0, let bytes = PQgetvalue(result, row, index) else {
            return (column.name, .null)
          }
          return (column.name, ColumnValue(text: String(cString: bytes), type: column.type))
        })
    }
  }
}

/// A point in time on the clock that does not jump.
private struct Deadline {
  private let end: ContinuousClock.Instant
  init(seconds: Int) { end = .now + .seconds(seconds) }
  /// What is left, as poll(2) takes it.
  var milliseconds: Int32 { Int32(clamping: Int64(((end - .now) / .milliseconds(1)).rounded(.up))) }
}
