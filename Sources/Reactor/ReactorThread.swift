import CPlatform
import Foundation
import Synchronization

/// A running reactor, seen from other threads.
public final class ReactorThread: Sendable {
  /// The way in.
  public let mailbox: Mailbox
  private let finished: DispatchSemaphore

  private init(mailbox: Mailbox, finished: DispatchSemaphore) {
    self.mailbox = mailbox
    self.finished = finished
  }

  /// Makes a reactor on a thread of its own and runs it.
  ///
  /// - Parameters:
  ///   - interface: what the reactor asks the kernel by.
  ///   - prepare: called on that thread before the loop begins: opens listeners.
  /// - Throws: what making the reactor or `prepare` threw.
  public static func start(
    index: Int, over interface: KernelInterface = .epoll, prepare: @escaping @Sendable (Reactor) throws -> Void
  ) throws -> ReactorThread {
    let outcome = StartOutcome()
    let started = DispatchSemaphore(value: 0)
    let finished = DispatchSemaphore(value: 0)
    let thread = Thread {
      // Foundation's own `name` does not reach the kernel, where top(1), perf(1) and our counters look for it. It cannot
      // fail for a string that is there.
      _ = platform_name_thread("reactor-\(index)")
      do {
        let reactor = try Reactor(index: index, over: interface)
        try prepare(reactor)
        outcome.store(.success(reactor.mailbox))
        started.signal()
        reactor.run()
      } catch {
        outcome.store(.failure(error))
        started.signal()
      }
      finished.signal()
    }
    thread.start()
    started.wait()
    return ReactorThread(mailbox: try outcome.take(), finished: finished)
  }

  /// Asks the reactor to end its sessions and stop, and waits for it.
  public func stop() {
    mailbox.post(evenIfFull: true) { $0.stop() }
    finished.wait()
  }
}

/// Carries the result of starting from the new thread to the one that waits for it.
private final class StartOutcome: Sendable {
  private let result = Mutex<Result<Mailbox, any Error>>(.failure(SystemError(call: "start reactor", errno: 0)))

  func store(_ value: Result<Mailbox, any Error>) { result.withLock { $0 = value } }
  func take() throws -> Mailbox { try result.withLock { $0 }.get() }
}
