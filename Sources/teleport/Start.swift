import ArgumentParser
import ConfigurationFile
import CoreMetrics
import Diagnostics
import Foundation
import Logging
import TextForms

/// `teleport start`.
struct Start: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Run the services that the configuration enables.")

  @Option(name: [.short, .long], help: "Configuration file; default: TELEPORT_CONFIG_FILE, /etc/teleport.yaml.")
  var config: String?

  @Option(help: "Directory of the cluster's state; overrides the configuration.")
  var dataDir: String?

  @Option(help: "HOST:PORT of health checks and metrics; overrides the configuration.")
  var diagAddr: String?

  @Option(help: "File to write the process ID to; overrides the configuration.")
  var pidFile: String?

  @Option(help: "Services to run, of auth, proxy and db, comma-separated; overrides the configuration.")
  var roles: String?

  @Flag(name: .shortAndLong, help: "Log more.")
  var debug = false

  func run() async throws {
    let path = TeleportConfiguration.path(explicit: config, environment: ProcessInfo.processInfo.environment)
    let registry = MetricsRegistry(help: DiagnosticsServer.help)
    MetricsSystem.bootstrap(registry)
    do {
      try await Self.atNormalPriority {
        let configuration = try load(path)
        let output = try LogOutput(configuration.log)
        LoggingSystem.bootstrap { ServiceLog(label: $0, output: output) }
        ServiceLog.use(configuration.log)
        let cluster = try Cluster(configuration)
        let lifecycle = try Lifecycle(configuration, file: path)
        try await cluster.run(lifecycle, metrics: registry) { try load(path) }
      }
    } catch let error as any CustomStringConvertible & Error {
      throw Failure(error.description)
    }
  }
}

extension Start {
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

  /// The configuration file as it is now, under this command's options.
  private func load(_ path: String?) throws -> TeleportConfiguration {
    var configuration = try TeleportConfiguration.load(path: path)
    if let dataDir { configuration.dataDirectory = dataDir }
    if let diagAddr {
      guard HostPort(diagAddr) != nil else { throw Failure("--diag-addr must be HOST:PORT") }
      configuration.diagAddress = diagAddr
    }
    if let pidFile { configuration.pidFile = pidFile }
    if let roles {
      let names = Set(roles.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) })
      guard !names.isEmpty, names.isSubset(of: ["auth", "proxy", "db"]) else {
        throw Failure("--roles must be of auth, proxy and db, such as --roles=auth,proxy")
      }
      configuration.isAuthEnabled = names.contains("auth")
      configuration.isProxyEnabled = names.contains("proxy")
      configuration.isDatabaseEnabled = names.contains("db")
    }
    if debug { configuration.log.severity = Logger.Level.debug.rawValue }
    return configuration
  }
}

/// What a command prints on stderr, in one line, before it exits with 1.
struct Failure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
