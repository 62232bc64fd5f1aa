import Audit
import Gateway
import Glibc
import Synchronization

/// Reads the gateway's rings on the audit log's thread and keeps one `StatementTracker` a session.
public final class QueryAuditor: AuditSource {
  public let recording: QueryRecording
  private let level: QueryAuditLevel
  private let sessions = Mutex<[UInt64: [UInt8]]>([:])
  private let numbers = Atomic<UInt64>(1)
  private let state = State()
  private let wake: @Sendable () -> Void

  /// Invariant behind `@unchecked Sendable`: touched by the audit log's thread alone.
  private final class State: @unchecked Sendable {
    var trackers: [UInt64: StatementTracker] = [:]
    var overdueCheckedAt: UInt64 = 0
    var lost = 0
  }

  /// Milliseconds between looks for statements without an outcome.
  private static let overdueInterval: UInt64 = 250

  /// - Parameters:
  ///   - level: not `off`.
  ///   - log: gets the records, and asks for them.
  public init(level: QueryAuditLevel, settings: QueryRecording.Settings, reactorCount: Int, log: AuditLog) {
    self.level = level
    let wake: @Sendable () -> Void = { [weak log] in log?.wake() }
    self.wake = wake
    recording = QueryRecording(reactorCount: reactorCount, settings: settings, wakeConsumer: wake)
    log.add(self)
  }

  /// Gives a session its number; its statements will be recorded with the common fields of `event`.
  func begin(_ event: AuditEvent) -> UInt64 {
    let number = numbers.add(1, ordering: .relaxed).oldValue
    var event = event
    // The session's start has these; `sid` leads there.
    (event.clientAddress, event.extra) = (nil, [])
    var context = JSONText()
    event.encodeFields(into: &context)
    sessions.withLock { $0[number] = context.bytes }
    wake()
    return number
  }

  /// The session is over. On the audit log's thread, after its rings were drained.
  func end(_ number: UInt64, _ writer: AuditWriter) {
    state.trackers.removeValue(forKey: number)?.finish(Self.output(writer))
    forget(number)
  }

  /// The session did not come about.
  func forget(_ number: UInt64) { sessions.withLock { $0[number] = nil } }

  public var isActive: Bool { sessions.withLock { !$0.isEmpty } }

  public func drain(into writer: AuditWriter) -> Bool {
    let output = Self.output(writer)
    var isDrained = true
    for ring in recording.rings {
      let lost = ring.takeLostCount()
      writer.countLost(lost)
      state.lost += lost
      ring.drain { entry, bytes in
        isDrained = writer.hasRoom
        if isDrained { take(entry, bytes, output) }
        return isDrained
      }
    }
    reportLost(writer)
    writeOverdue(output)
    return isDrained
  }

  private func writeOverdue(_ output: StatementRecords.Output) {
    let now = Self.monotonicMilliseconds()
    guard now >= state.overdueCheckedAt &+ Self.overdueInterval else { return }
    state.overdueCheckedAt = now
    for tracker in state.trackers.values { tracker.writeOverdue(now: now, output) }
  }

  private func take(
    _ entry: QueryRing.Entry, _ bytes: UnsafeRawBufferPointer, _ output: StatementRecords.Output
  ) {
    if let tracker = state.trackers[entry.session] { return tracker.take(entry, bytes, output) }
    guard let context = sessions.withLock({ $0[entry.session] }) else { return }
    let tracker = StatementTracker(
      StatementRecords(context: context, level: level, includesParameters: recording.settings.includesParameters))
    state.trackers[entry.session] = tracker
    tracker.take(entry, bytes, output)
  }

  private func reportLost(_ writer: AuditWriter) {
    guard state.lost > 0, writer.hasRoom else { return }
    let count = state.lost
    let isWritten = writer.write("audit.dropped", code: "SPA00W", at: Self.realtimeMilliseconds()) {
      $0.field("message", "statements came faster than they could be recorded; some sessions' records have holes")
      $0.field("count", count)
    }
    if isWritten { state.lost = 0 }
  }

  // MARK: Clocks

  private static func output(_ writer: AuditWriter) -> StatementRecords.Output {
    let offset = realtimeMilliseconds() &- Int64(clamping: monotonicMilliseconds())
    return StatementRecords.Output(writer: writer, clockOffset: offset)
  }

  private static func monotonicMilliseconds() -> UInt64 { UInt64(clamping: milliseconds(CLOCK_MONOTONIC)) }
  private static func realtimeMilliseconds() -> Int64 { milliseconds(CLOCK_REALTIME) }

  private static func milliseconds(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) &* 1000 &+ Int64(time.tv_nsec) / 1_000_000
  }
}
