import Synchronization

/// Work for a reactor from other threads: bounded, in order, one short critical section a post.
///
/// Used for logins, answers of the Dispatch pool and administration, never for a relayed message.
public final class Mailbox: Sendable {
  /// Runs on the reactor's thread.
  public typealias Job = @Sendable (Reactor) -> Void

  private let jobs: Mutex<[Job]>
  private let waker: Waker
  private let capacity: Int

  init(waker: Waker, capacity: Int) {
    self.waker = waker
    self.capacity = capacity
    jobs = Mutex([])
  }

  /// Hands `job` to the reactor. Callable from any thread.
  ///
  /// - Parameter evenIfFull: for what must not be lost and is posted a few times in a reactor's life.
  /// - Returns: `false` if the mailbox is full; the job will not run.
  @discardableResult
  public func post(evenIfFull: Bool = false, _ job: @escaping Job) -> Bool {
    let accepted = jobs.withLock { jobs in
      guard evenIfFull || jobs.count < capacity else { return false }
      jobs.append(job)
      return true
    }
    if accepted { waker.wake() }
    return accepted
  }

  func takeAll() -> [Job] {
    jobs.withLock { jobs in
      guard !jobs.isEmpty else { return [] }
      let taken = jobs
      jobs = []
      return taken
    }
  }
}
