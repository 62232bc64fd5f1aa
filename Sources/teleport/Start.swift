import ArgumentParser
import ConfigurationFile
import Foundation

/// `teleport start`.
struct Start: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Run the services that the configuration enables.")

  @Option(name: [.short, .long], help: "Configuration file; default: TELEPORT_CONFIG_FILE, /etc/teleport.yaml.")
  var config: String?

  @Option(help: "Directory of the cluster's state; overrides the configuration.")
  var dataDir: String?

  @Option(help: "Services to run, of auth, proxy, db and discovery, comma-separated; overrides the configuration.")
  var roles: String?

  @OptionGroup var process: ProcessOptions

  func run() async throws {
    let path = TeleportConfiguration.path(explicit: config, environment: ProcessInfo.processInfo.environment)
    try await process.run(file: path) { try load(path) }
  }

  /// The configuration file as it is now, under this command's options.
  private func load(_ path: String?) throws -> TeleportConfiguration {
    var configuration = try TeleportConfiguration.load(path: path)
    if let dataDir { configuration.dataDirectory = dataDir }
    if let roles {
      let names = Set(roles.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) })
      guard !names.isEmpty, names.isSubset(of: ["auth", "proxy", "db", "discovery"]) else {
        throw Failure("--roles must be of auth, proxy, db and discovery, such as --roles=auth,proxy")
      }
      configuration.isAuthEnabled = names.contains("auth")
      configuration.isProxyEnabled = names.contains("proxy")
      configuration.isDatabaseEnabled = names.contains("db")
      guard configuration.discovery.isEnabled || !names.contains("discovery") else {
        throw Failure("--roles=discovery needs a discovery_service in the configuration that is enabled")
      }
      configuration.discovery.isEnabled = names.contains("discovery")
    }
    return configuration
  }
}

/// What a command prints on stderr, in one line, before it exits with 1.
struct Failure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
