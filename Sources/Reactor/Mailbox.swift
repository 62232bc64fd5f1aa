import Synchronization

/// Work for a reactor from other threads: bounded, in order, one short critical section a post.
///
/// Used for logins, answers of the Dispatch pool and administration, never for a relayed message.
public final class Mailbox: Sendable {
  /// Runs on the reactor's thread.
  public typealias Job = @Sendable (Reactor) -> Void

  private struct Content {
    var jobs: [Job] = []
    var isClosed = false
  }

  private let content = Mutex(Content())
  private let waker: Waker
  private let capacity: Int

  init(waker: Waker, capacity: Int) {
    self.waker = waker
    self.capacity = capacity
  }

  /// Hands `job` to the reactor. Callable from any thread.
  ///
  /// - Parameter evenIfFull: for what must not be lost and is posted a few times in a reactor's life.
  /// - Returns: `false` if the mailbox is full or its reactor has ended; the job will not run.
  @discardableResult
  public func post(evenIfFull: Bool = false, _ job: @escaping Job) -> Bool {
    let accepted = content.withLock { content in
      guard !content.isClosed, evenIfFull || content.jobs.count < capacity else { return false }
      content.jobs.append(job)
      return true
    }
    if accepted { waker.wake() }
    return accepted
  }

  func takeAll() -> [Job] {
    content.withLock { content in
      guard !content.jobs.isEmpty else { return [] }
      let taken = content.jobs
      content.jobs = []
      return taken
    }
  }

  /// Takes no job any more: nobody would run it, and what it holds may well hold this mailbox.
  ///
  /// - Returns: the last jobs.
  func close() -> [Job] {
    content.withLock { content in
      let last = content.jobs
      content = Content(jobs: [], isClosed: true)
      return last
    }
  }
}
