import Gateway
import Synchronization

/// A gateway's background work in virtual time: one job at a time, on the simulation's thread, in an order that the seed
/// decides. Reports keep theirs.
package final class SimulatedPool: BackgroundWork, TaskExecutor {
  private enum Work: Sendable {
    case job(UnownedJob)
    case closure(@Sendable () -> Void)
  }

  private struct Entry: Sendable {
    let due: UInt64
    let work: Work
  }

  private struct Jobs {
    var loose: [Entry] = []
    var reports: [Entry] = []
    var lastReport: UInt64 = 0
  }

  /// What a piece of work costs, in virtual milliseconds.
  package enum Kind: Sendable { case decision, report }

  private let jobs = Mutex(Jobs())
  private let delay: @Sendable (Kind) -> UInt64
  private let pick: @Sendable (ClosedRange<Double>) -> Double
  private let now: @Sendable () -> UInt64

  /// - Parameters:
  ///   - now: virtual milliseconds.
  ///   - delay: draws how long it takes until a piece of work is done.
  ///   - pick: draws a pause.
  package init(
    now: @escaping @Sendable () -> UInt64, delay: @escaping @Sendable (Kind) -> UInt64,
    pick: @escaping @Sendable (ClosedRange<Double>) -> Double
  ) {
    self.now = now
    self.delay = delay
    self.pick = pick
  }

  // MARK: BackgroundWork

  package func run(_ work: @escaping @Sendable () async -> Void) { Task(executorPreference: self) { await work() } }

  package func report(_ report: @escaping @Sendable () -> Void) {
    let due = now() + delay(.report)
    jobs.withLock { jobs in
      jobs.lastReport = max(jobs.lastReport, due)
      jobs.reports.append(Entry(due: jobs.lastReport, work: .closure(report)))
    }
  }

  package func run(after seconds: ClosedRange<Double>, _ work: @escaping @Sendable () -> Void) {
    let due = now() + UInt64(pick(seconds) * 1000)
    jobs.withLock { $0.loose.append(Entry(due: due, work: .closure(work))) }
  }

  package func enqueue(_ job: consuming ExecutorJob) {
    let work = Work.job(UnownedJob(job))
    let due = now() + delay(.decision)
    jobs.withLock { $0.loose.append(Entry(due: due, work: work)) }
  }

  // MARK: The simulation's side

  /// When the next piece of work is due; `nil` without any.
  package var nextTime: UInt64? {
    jobs.withLock { jobs in
      let loose = jobs.loose.map(\.due).min()
      guard let report = jobs.reports.first?.due else { return loose }
      return min(loose ?? .max, report)
    }
  }

  /// Does one piece of work that is due, if there is any; `choose` picks among so many.
  package func step(_ choose: (Int) -> Int) {
    let now = now()
    let entry = jobs.withLock { jobs -> Entry? in
      let due = jobs.loose.indices.filter { jobs.loose[$0].due <= now }
      let hasReport = jobs.reports.first.map { $0.due <= now } ?? false
      let count = due.count + (hasReport ? 1 : 0)
      guard count > 0 else { return nil }
      let chosen = choose(count)
      return chosen < due.count ? jobs.loose.remove(at: due[chosen]) : jobs.reports.removeFirst()
    }
    switch entry?.work {
    case .job(let job): job.runSynchronously(on: asUnownedTaskExecutor())
    case .closure(let closure): closure()
    case nil: break
    }
  }
}
