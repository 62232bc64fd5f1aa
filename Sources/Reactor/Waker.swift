import CPlatform
import Glibc
import Synchronization

/// Wakes a sleeping back end from any thread ([eventfd(2)](https://man7.org/linux/man-pages/man2/eventfd.2.html)).
///
/// Wake-ups are merged: while one is on its way, further ones cost an atomic exchange and no system call.
public final class Waker: Sendable {
  package let descriptor: Int32
  private let isSignalled = Atomic(false)

  package init() throws(SystemError) {
    descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
    guard descriptor >= 0 else { throw SystemError(call: "eventfd", errno: errno) }
  }

  deinit { Glibc.close(descriptor) }

  /// Whether a wake-up is on its way.
  package var isPending: Bool { isSignalled.load(ordering: .acquiring) }

  /// Makes `poll` return. Callable from any thread.
  public func wake() {
    guard !isSignalled.exchange(true, ordering: .acquiringAndReleasing) else { return }
    var one: UInt64 = 1
    // Can fail only when the counter is about to overflow, and then a wake-up is already pending.
    _ = write(descriptor, &one, MemoryLayout<UInt64>.size)
  }

  /// Called by the back end when it saw the event, before the mailbox is read.
  package func acknowledge() {
    var count: UInt64 = 0
    _ = read(descriptor, &count, MemoryLayout<UInt64>.size)
    isSignalled.store(false, ordering: .sequentiallyConsistent)
  }
}
