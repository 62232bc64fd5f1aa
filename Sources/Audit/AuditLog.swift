import Dispatch
import Foundation
import Logging
import Metrics
import Synchronization

/// Something that has records of its own to write: asked by the audit log's thread, several times a second.
public protocol AuditSource: Sendable {
  /// Whether it may have records soon, so that it is to be asked without being woken for each.
  var isActive: Bool { get }
  /// Writes what there is, as long as the writer has room. On the audit log's thread.
  ///
  /// - Returns: whether that was all there was.
  func drain(into writer: AuditWriter) -> Bool
}

/// The append-only record of who did what: one JSON object a line in a file that only its owner may read.
///
/// Events are handed over by any thread and written by one thread of the log's own, in order. While the file cannot be
/// written they wait in memory up to a bound; past it they are counted, and an `audit.dropped` record says how many.
public final class AuditLog: Sendable {
  /// The current file.
  public let path: String
  private let inbox: AuditInbox
  private let finished = DispatchSemaphore(value: 0)

  /// Opens (or makes) `path` (`DIRECTORY/NAME.log`) and mends what a crash has left.
  ///
  /// - Throws: `AuditError` if the file cannot be used.
  public init(path: String, settings: AuditLogSettings = AuditLogSettings()) throws {
    // First, while failing leaves nothing for `deinit` to wait for.
    let writer = try AuditWriter(AuditFiles(path: path), settings: settings)
    self.path = path
    inbox = AuditInbox(maximumWaiting: settings.maximumWaiting)
    let loop = AuditLoop(inbox, writer)
    let thread = Thread { [finished] in
      loop.run()
      finished.signal()
    }
    thread.name = "audit"
    thread.start()
  }

  deinit {
    inbox.stop()
    finished.wait()
  }

  /// Hands `event` over.
  public func emit(_ event: AuditEvent) { inbox.put(.event(event)) }

  /// Hands `event` over; `prelude` runs on the log's thread just before it is written, after everything that the sources
  /// have by then, and even if there is no room for the event.
  public func emit(_ event: AuditEvent, after prelude: @escaping @Sendable (AuditWriter) -> Void) {
    inbox.put(
      .work { writer in
        prelude(writer)
        writer.write(event)
      }, isOwn: true)
  }

  /// Hands `event` over.
  ///
  /// - Parameter answer: called when it is on the disk, or cannot be put there; on the log's thread, which it must not
  ///   hold up.
  public func emitDurably(_ event: AuditEvent, _ answer: @escaping @Sendable (AuditError?) -> Void) {
    if !inbox.put(.durable(event, answer)) { answer(AuditError("the audit log is overloaded")) }
  }

  /// Asks `source` for records from now on.
  public func add(_ source: any AuditSource) { inbox.add(source) }

  /// Has the sources asked soon. From any thread.
  public func wake() { inbox.wake() }

  /// Waits until everything handed over so far is on the disk, or has failed to get there.
  public func flush() {
    let done = DispatchSemaphore(value: 0)
    if inbox.put(.settle { done.signal() }, isOwn: true) { done.wait() }
  }

  /// The database sessions whose start is on record here and whose end is not.
  public func openSessions() async -> [OpenSession] {
    let records = await withCheckedContinuation { continuation in
      let isTaken = inbox.put(.work { continuation.resume(returning: $0.sessions.records) }, isOwn: true)
      if !isTaken { continuation.resume(returning: []) }
    }
    return OpenSession.all(records)
  }

  public var metrics: AuditMetrics { inbox.status.metrics }
  /// Where the chain of records in the file ends.
  public var head: AuditHead { inbox.status.head }
  /// Why the file cannot be written at the moment.
  public var failure: AuditError? { inbox.status.failure }
}

/// What waits for the audit log's thread, and what that thread lets others see.
private final class AuditInbox: Sendable {
  enum Item: Sendable {
    case event(AuditEvent)
    case durable(AuditEvent, @Sendable (AuditError?) -> Void)
    case work(@Sendable (AuditWriter) -> Void)
    case settle(@Sendable () -> Void)
  }

  struct Status: Sendable {
    var metrics = AuditMetrics()
    var head = AuditHead.origin
    var failure: AuditError?
  }

  private struct State {
    var items: [Item] = []
    var sources: [any AuditSource] = []
    var isAwake = false
    var isStopped = false
    var dropped = 0
    var status = Status()
  }

  struct Batch {
    var items: [Item]
    var sources: [any AuditSource]
    var dropped: Int
    var isLast: Bool
  }

  private let state = Mutex(State())
  private let semaphore = DispatchSemaphore(value: 0)
  private let maximumWaiting: Int

  init(maximumWaiting: Int) { self.maximumWaiting = maximumWaiting }

  /// - Parameter isOwn: whether more than a record depends on it, so that it is never refused for want of room.
  @discardableResult
  func put(_ item: Item, isOwn: Bool = false) -> Bool {
    change { state in
      guard !state.isStopped else { return false }
      guard isOwn || state.items.count < maximumWaiting else {
        state.dropped += 1
        return false
      }
      state.items.append(item)
      return true
    }
  }

  func add(_ source: any AuditSource) { change { $0.sources.append(source) } }
  func wake() { change { _ in } }
  func stop() { change { $0.isStopped = true } }

  private func change<Result>(_ body: (inout State) -> Result) -> Result {
    let (result, mustSignal) = state.withLock { state in
      let result = body(&state)
      defer { state.isAwake = true }
      return (result, !state.isAwake)
    }
    if mustSignal { semaphore.signal() }
    return result
  }

  /// Waits for work, no longer than `milliseconds`, and takes it.
  func take(within milliseconds: Int?) -> Batch {
    _ = semaphore.wait(timeout: milliseconds.map { .now() + .milliseconds($0) } ?? .distantFuture)
    return state.withLock { state in
      defer { (state.items, state.dropped, state.isAwake) = ([], 0, false) }
      return Batch(items: state.items, sources: state.sources, dropped: state.dropped, isLast: state.isStopped)
    }
  }

  var status: Status { state.withLock { $0.status } }
  func publish(_ status: Status) { state.withLock { $0.status = status } }
}

/// The audit log's thread.
///
/// Invariant behind `@unchecked Sendable`: made on one thread, then used by the log's own thread alone.
private final class AuditLoop: @unchecked Sendable {
  private let inbox: AuditInbox
  private let writer: AuditWriter
  private let logger = Logger(label: "audit")
  private var isFailing = false
  private var dropped = 0
  /// What the counters have been told.
  private var counted = AuditMetrics()
  private let writtenCounter = Counter(label: "sallyport_audit_events_total", dimensions: [("outcome", "written")])
  private let droppedCounter = Counter(label: "sallyport_audit_events_total", dimensions: [("outcome", "dropped")])
  private let unshippedCounter = Counter(
    label: "sallyport_audit_events_total", dimensions: [("outcome", "removed_unshipped")])
  /// Work that has to wait until the sources have told everything.
  private var held: [@Sendable (AuditWriter) -> Void] = []

  /// Sources that may have records are asked so often, in milliseconds: the records of that time make one write.
  private static let tick = 50
  /// While they have, more often: what gathers in a longer time would keep a core busy for long enough to be felt in the
  /// latency of the sessions.
  private static let busyTick = 5
  /// A file that cannot be written is tried again after so many milliseconds.
  private static let retry = 250

  init(_ inbox: AuditInbox, _ writer: AuditWriter) {
    self.inbox = inbox
    self.writer = writer
  }

  func run() {
    var wait: Int?
    while true {
      publish()
      let batch = inbox.take(within: wait)
      if isFailing { writer.flush() }
      let earlier = writer.metrics.written
      // What the sources have is older than the items: a session's queries come before its end.
      var isDrained = true
      for source in batch.sources where !source.drain(into: writer) { isDrained = false }
      let tick = writer.metrics.written > earlier ? Self.busyTick : Self.tick
      if isDrained || batch.isLast {
        for work in held { work(writer) }
        held.removeAll()
      }
      process(batch.items, isDrained: isDrained)
      dropped += batch.dropped
      reportDropped()
      writer.flush()
      noteFailure()
      if batch.isLast { break }
      wait = isFailing ? Self.retry : !isDrained || batch.sources.contains { $0.isActive } ? tick : nil
    }
    writer.settle()
    publish()
  }

  private func process(_ items: [AuditInbox.Item], isDrained: Bool) {
    var waiting: [@Sendable (AuditError?) -> Void] = []
    var settlers: [@Sendable () -> Void] = []
    for item in items {
      switch item {
      case .event(let event): writer.write(event)
      case .durable(let event, let answer):
        // A record that would only wait in memory is no promise: better none.
        if let failure = writer.failure {
          answer(failure)
        } else {
          writer.write(event)
          waiting.append(answer)
        }
      case .work(let work): if isDrained { work(writer) } else { held.append(work) }
      case .settle(let done): settlers.append(done)
      }
    }
    // One sync for all sessions that start at this moment.
    if !waiting.isEmpty {
      let failure = writer.sync()
      for answer in waiting { answer(failure) }
    }
    if !settlers.isEmpty {
      writer.settle()
      publish()
      for done in settlers { done() }
    }
  }

  private func reportDropped() {
    guard dropped > 0, writer.failure == nil else { return }
    let isWritten = writer.write("audit.dropped", code: "SPA00W", at: RecordClock.now()) {
      $0.field("message", "events came faster than they could be taken")
      $0.field("count", dropped)
    }
    if isWritten { dropped = 0 }
  }

  private func noteFailure() {
    guard (writer.failure != nil) != isFailing else { return }
    isFailing.toggle()
    if let failure = writer.failure {
      logger.error("audit log fails; new sessions are refused", metadata: ["error": "\(failure)"])
    } else {
      logger.notice("audit log is written again")
    }
  }

  private func publish() {
    var metrics = writer.metrics
    metrics.dropped += dropped
    writtenCounter.increment(by: metrics.written - counted.written)
    droppedCounter.increment(by: metrics.dropped - counted.dropped)
    if metrics.lostUnshipped > counted.lostUnshipped {
      unshippedCounter.increment(by: metrics.lostUnshipped - counted.lostUnshipped)
      logger.error(
        "records were removed before the Auth Service had them",
        metadata: ["count": "\(metrics.lostUnshipped - counted.lostUnshipped)"])
    }
    counted = metrics
    inbox.publish(.init(metrics: metrics, head: writer.head, failure: writer.failure))
  }
}
