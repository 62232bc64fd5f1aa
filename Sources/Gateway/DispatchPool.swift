import Dispatch

/// Where logins are decided: a concurrent Dispatch queue that runs Swift tasks, away from the reactors.
public final class DispatchPool: TaskExecutor {
  private let queue = DispatchQueue(label: "sallyport.decisions", attributes: .concurrent)

  public init() {}

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }

  /// Runs `work` on the pool, out of order with other work.
  func run(_ work: @escaping @Sendable () async -> Void) {
    Task(executorPreference: self) { await work() }
  }
}
