import ConfigurationFile
import ControlAPI
import Diagnostics
import Foundation
import Gateway
import Logging
import Systemd

/// One run of `teleport start` as its surroundings see it: signals in; systemd, status file and diagnostics out.
///
/// SIGHUP reloads. SIGTERM and SIGQUIT drain, and end at once when they come again; SIGINT ends at once.
final class Lifecycle: Sendable {
  let health = Health()
  private let notifier = ServiceNotifier(environment: ProcessInfo.processInfo.environment)
  private let signals = Signals([SIGTERM, SIGQUIT, SIGINT, SIGHUP])
  private let record: ProcessRecord
  private let pidFile: PIDFile?
  private let logger = Logger(label: "teleport")

  /// Takes the data directory's lock; from here on signals wait for `supervise`.
  init(_ configuration: TeleportConfiguration, file: String?) throws {
    let listen = [configuration.webListenAddress, configuration.postgresListenAddress].compactMap { $0 }
    record = try ProcessRecord(
      dataDirectory: configuration.dataDirectory,
      content: .init(
        pid: getpid(), version: sallyportVersion, stage: "", services: configuration.serviceNames, listen: listen,
        diagAddress: configuration.diagAddress, configuration: file, started: Date()))
    pidFile = try configuration.pidFile.map(PIDFile.init)
  }

  /// Returns when it is time to stop the gateway; whatever sessions there are then have had their time.
  ///
  /// - Parameter reload: makes of the configuration in use the next one, and puts it to use.
  func supervise(
    _ gateway: RunningGateway, _ configuration: TeleportConfiguration,
    reload: @Sendable (TeleportConfiguration) throws -> TeleportConfiguration
  ) async {
    var configuration = configuration
    health.becomeReady(gateway)
    enter(.ready, [.ready, .status(Self.summary(configuration))])
    let watchdog = Task { await feedWatchdog() }
    defer {
      watchdog.cancel()
      pidFile?.remove()
    }
    for await signal in signals.stream {
      switch signal {
      case SIGHUP:
        tell([.reloading, .status("Reloading")])
        do {
          configuration = try reload(configuration)
          ServiceLog.use(configuration.log)
          logger.notice("configuration reloaded")
        } catch {
          logger.error("configuration not reloaded, the one in use stays: \(error)")
        }
        tell([.ready, .status(Self.summary(configuration))])
      case SIGINT:
        health.beginDraining()
        enter(.draining, [.stopping, .status("Stopping")])
        return
      default: return await drain(gateway, within: .seconds(configuration.shutdownTimeout.seconds))
      }
    }
  }

  private func drain(_ gateway: RunningGateway, within limit: Duration) async {
    health.beginDraining()
    // Closing sessions at the end of the limit takes a few seconds more.
    enter(
      .draining,
      [
        .stopping, .extendTimeout(limit + .seconds(15)),
        .status("Draining: sessions may go on for \(limit.components.seconds) s"),
      ])
    logger.notice("draining", metadata: ["limit": "\(limit.components.seconds)s"])
    let left = await withTaskGroup(of: Int?.self) { group in
      group.addTask { await gateway.drain(within: limit) }
      group.addTask { [signals] in
        for await signal in signals.stream where signal != SIGHUP { break }
        return nil
      }
      let first = await group.next() ?? nil
      group.cancelAll()
      return first
    }
    logger.notice("drained", metadata: ["left": left.map { "\($0)" } ?? "told to stop at once"])
  }

  /// Tells systemd that all is well for as long as every reactor answers.
  private func feedWatchdog() async {
    guard let interval = notifier.watchdogInterval else { return }
    while !Task.isCancelled {
      if await health.isAlive() { tell([.watchdog]) } else { logger.error("a reactor does not answer") }
      do { try await Task.sleep(for: interval / 2) } catch { return }
    }
  }

  private func enter(_ stage: Health.Stage, _ states: [ServiceNotifier.State]) {
    do {
      try record.show(stage)
    } catch {
      logger.error("status file not written: \(error)")
    }
    tell(states)
  }

  private func tell(_ states: [ServiceNotifier.State]) {
    do {
      try notifier.notify(states)
    } catch {
      logger.error("\(error)")
    }
  }

  private static func summary(_ configuration: TeleportConfiguration) -> String {
    let count = configuration.isDatabaseEnabled ? configuration.databases.count : 0
    let place =
      configuration.isProxyEnabled
      ? "on \(configuration.webListenAddress)" : configuration.isAuthEnabled ? "as Auth Service" : "through tunnels"
    return "Serving \(count) database\(count == 1 ? "" : "s") \(place)"
  }
}
