import ArgumentParser
import ConfigurationFile
import CoreMetrics
import Diagnostics
import Foundation
import Logging
import TextForms

/// The flags of whatever command runs services, and the running of them.
struct ProcessOptions: ParsableArguments {
  @Option(help: "HOST:PORT of health checks and metrics; overrides the configuration.")
  var diagAddr: String?

  @Option(help: "File to write the process ID to; overrides the configuration.")
  var pidFile: String?

  @Flag(name: .shortAndLong, help: "Log more.")
  var debug = false

  /// Runs the services that the configuration enables until it is time to end.
  ///
  /// - Parameters:
  ///   - file: where the configuration is from, if it is a file.
  ///   - load: reads it, now and at each reload; these flags are laid over it.
  func run(file: String?, load: @escaping @Sendable () throws -> TeleportConfiguration) async throws {
    let registry = MetricsRegistry(help: DiagnosticsServer.help)
    MetricsSystem.bootstrap(registry)
    do {
      try await Self.atNormalPriority {
        let configuration = try apply(load())
        let output = try LogOutput(configuration.log)
        LoggingSystem.bootstrap { ServiceLog(label: $0, output: output) }
        ServiceLog.use(configuration.log)
        let cluster = try Cluster(configuration)
        let lifecycle = try Lifecycle(configuration, file: file)
        try await cluster.run(lifecycle, metrics: registry) { try apply(load()) }
      }
    } catch let error as any CustomStringConvertible & Error {
      throw Failure(error.description)
    }
  }

  private func apply(_ configuration: TeleportConfiguration) throws -> TeleportConfiguration {
    var configuration = configuration
    if let diagAddr {
      guard HostPort(diagAddr) != nil else { throw Failure("--diag-addr must be HOST:PORT") }
      configuration.diagAddress = diagAddr
    }
    if let pidFile { configuration.pidFile = pidFile }
    if debug { configuration.log.severity = Logger.Level.debug.rawValue }
    return configuration
  }

  /// The main task and all that it starts have a raised priority: a process with root's powers would let them outrank its
  /// reactors, one without would be refused and log it. Waiting by a continuation hands no priority down.
  private static func atNormalPriority(_ work: @escaping @Sendable () async throws -> Void) async throws {
    try await withCheckedThrowingContinuation { continuation in
      Task.detached(priority: .medium) {
        do {
          try await work()
          continuation.resume()
        } catch {
          continuation.resume(throwing: error)
        }
      }
    }
  }
}
