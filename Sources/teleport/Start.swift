import ArgumentParser
import ConfigurationFile
import Foundation
import Logging

/// `teleport start`.
struct Start: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Run the services that the configuration enables.")

  @Option(name: [.short, .long], help: "Configuration file; default: TELEPORT_CONFIG_FILE, /etc/teleport.yaml.")
  var config: String?

  @Option(help: "Directory of the cluster's state; overrides the configuration.")
  var dataDir: String?

  @Flag(name: .shortAndLong, help: "Log more.")
  var debug = false

  func run() async throws {
    let path = TeleportConfiguration.path(explicit: config, environment: ProcessInfo.processInfo.environment)
    var configuration: TeleportConfiguration
    do {
      configuration = try TeleportConfiguration.load(path: path)
    } catch let error as ConfigurationError {
      throw Failure(error.description)
    }
    if let dataDir { configuration.dataDirectory = dataDir }
    let level = debug ? .debug : Logger.Level(rawValue: configuration.log.severity) ?? .info
    let output = try LogOutput(configuration.log)
    LoggingSystem.bootstrap { LineLogHandler(label: $0, output: output, logLevel: level) }
    do {
      try await Cluster(configuration).run()
    } catch let error as any CustomStringConvertible & Error {
      throw Failure(error.description)
    }
  }
}

/// What a command prints on stderr, in one line, before it exits with 1.
struct Failure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
