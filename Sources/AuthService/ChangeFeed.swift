import Foundation
import GRDB
import Synchronization

/// Tells who waits that the shared part of the cluster's state has changed.
///
/// The revision itself is kept by triggers in the state, so no code path can forget to count. Thread-safe.
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

extension ClusterState {
  /// Tables whose rows hosts decide by: a trigger on each counts the revision up.
  static let sharedTables = ["role", "user", "authority", "host_proxy", "lock", "db"]

  /// Each migration names the tables that it made: at its time there were no others.
  static func createRevisionTriggers(on tables: [String], _ database: Database) throws {
    for table in tables {
      for event in ["INSERT", "UPDATE", "DELETE"] {
        try database.execute(
          sql: """
            CREATE TRIGGER revision_\(table)_\(event) AFTER \(event) ON \(table) BEGIN
              UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'revision';
            END
            """)
      }
    }
  }

  func revision(_ database: Database) throws -> Int64 {
    try Int64.fetchOne(database, sql: "SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'revision'") ?? 0
  }
}

/// Wakes the feed after each commit that touched shared tables.
///
/// Its state is touched only by GRDB, on the queue of its one writer.
final class RevisionObserver: TransactionObserver, @unchecked Sendable {
  private let feed: ChangeFeed
  private var isTouched = false

  init(feed: ChangeFeed) { self.feed = feed }

  func observes(eventsOfKind eventKind: DatabaseEventKind) -> Bool {
    ClusterState.sharedTables.contains(eventKind.tableName)
  }

  func databaseDidChange(with event: DatabaseEvent) { isTouched = true }
  func databaseDidRollback(_ database: Database) { isTouched = false }

  func databaseDidCommit(_ database: Database) {
    if isTouched { feed.announce() }
    isTouched = false
  }
}
