import Dispatch

/// Where a gateway's work runs that has no business on a reactor's thread: decisions, reports, second attempts.
public protocol BackgroundWork: Sendable {
  /// Runs `work` soon, out of order with other work.
  func run(_ work: @escaping @Sendable () async -> Void)
  /// Runs `report` soon, after all reports that were handed over before it.
  func report(_ report: @escaping @Sendable () -> Void)
  /// Runs `work` after a pause of `seconds`, of which chance picks one.
  func run(after seconds: ClosedRange<Double>, _ work: @escaping @Sendable () -> Void)
}

/// A concurrent Dispatch queue that runs Swift tasks, and a serial one for reports.
public final class DispatchPool: TaskExecutor, BackgroundWork {
  private let queue = DispatchQueue(label: "sallyport.decisions", attributes: .concurrent)
  private let reports = DispatchQueue(label: "sallyport.reports")

  public init() {}

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }

  public func run(_ work: @escaping @Sendable () async -> Void) {
    Task(executorPreference: self) { await work() }
  }

  public func report(_ report: @escaping @Sendable () -> Void) { reports.async(execute: report) }

  public func run(after seconds: ClosedRange<Double>, _ work: @escaping @Sendable () -> Void) {
    queue.asyncAfter(deadline: .now() + .random(in: seconds), execute: work)
  }
}
