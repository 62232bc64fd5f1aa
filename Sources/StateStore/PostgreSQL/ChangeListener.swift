import Foundation
import Logging
import Synchronization

/// Hears by LISTEN what any Auth Service has changed, on a thread and a connection of its own.
///
/// A connection that is lost is made anew with growing pauses; what was missed meanwhile is announced as one change.
final class ChangeListener: Sendable {
  private let settings: ConnectionSettings
  private let channel: String
  private let changed: @Sendable () -> Void
  private let isStopped = Atomic(false)

  /// Seconds after which `stop` is noticed, and a connection that nothing came over is tried out.
  private static let patience = 5
  private static let longestPause = 10.0

  init(_ settings: ConnectionSettings, channel: String, changed: @escaping @Sendable () -> Void) {
    self.settings = settings
    self.channel = channel
    self.changed = changed
  }

  func start() {
    let thread = Thread { [self] in run() }
    thread.name = "state-changes"
    thread.start()
  }

  /// Ends the thread within a few seconds.
  func stop() { isStopped.store(true, ordering: .relaxed) }

  private func run() {
    let logger = Logger(label: "auth")
    var failures = 0
    while !isStopped.load(ordering: .relaxed) {
      do {
        try listen {
          if failures > 0 { logger.info("changes of other Auth Services are heard at once again") }
          failures = 0
        }
      } catch {
        if failures == 0 { logger.warning("changes of other Auth Services come late: \(error)") }
        Thread.sleep(forTimeInterval: min(Self.longestPause, 0.25 * Double(1 << min(failures, 6))))
        failures += 1
      }
    }
  }

  private func listen(_ connected: () -> Void) throws {
    let connection = try PostgresConnection(settings)
    _ = try connection.run("LISTEN \(channel)")
    connected()
    changed()
    while !isStopped.load(ordering: .relaxed) {
      if try connection.waitForNotification(seconds: Self.patience) {
        changed()
      } else {
        _ = try connection.run("SELECT 1")
      }
    }
  }
}
