import Foundation
import Synchronization

/// Tells who waits that the shared part of the cluster's state has changed.
///
/// The revision itself is kept by triggers in the state, so no code path can forget to count. Of other Auth Services'
/// changes a shared state tells. Thread-safe.
final class ChangeFeed: Sendable {
  private let waiters = Mutex<[UUID: AsyncStream<Void>.Continuation]>([:])

  /// Hosts that are woken at once; further ones look for themselves when their wait is over.
  private static let maximumWaiters = 10_000

  func announce() {
    let waiting = waiters.withLock { waiters in
      defer { waiters = [:] }
      return waiters.values.map { $0 }
    }
    for waiter in waiting { waiter.finish() }
  }

  /// Returns at the next announcement, or after `seconds`.
  ///
  /// - Throws: `CancellationError`.
  func wait(seconds: Double) async throws {
    let (stream, continuation) = AsyncStream<Void>.makeStream()
    let id = UUID()
    let isEntered = waiters.withLock { waiters in
      guard waiters.count < Self.maximumWaiters else { return false }
      waiters[id] = continuation
      return true
    }
    guard isEntered else { return try await Task.sleep(for: .seconds(seconds)) }
    let alarm = Task {
      // Cancelled or slept out, the wait is over.
      try? await Task.sleep(for: .seconds(seconds))
      continuation.finish()
    }
    for await _ in stream {}
    alarm.cancel()
    waiters.withLock { $0[id] = nil }
    try Task.checkCancellation()
  }
}
