import ArgumentParser
import AuthService
import ConfigurationFile
import Foundation

/// `teleport db start`: a Database Service without a configuration file, or that of a file alone.
struct DatabaseStart: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "start", abstract: "Run a database service for one database that flags describe.")

  @OptionGroup var database: DatabaseOptions
  @Option(
    name: [.short, .long], help: "Configuration file whose database service to run, in place of the other flags.")
  var config: String?
  @OptionGroup var process: ProcessOptions
  @Flag(help: .hidden) var insecure = false

  func run() async throws {
    guard !insecure else {
      throw Failure("--insecure is not offered: the token would go to whoever answers; give --ca-pin of 'tctl status'")
    }
    guard let config else {
      guard !AuthServer.hasState(in: database.dataDir) else {
        throw Failure(
          "\(database.dataDir) holds a cluster of this host; run 'teleport start' there, or give another --data-dir")
      }
      // Flags do not change while the process runs, so a reload reads the same again.
      let text = try database.configurationText()
      return try await process.run(file: nil) { try TeleportConfiguration(yaml: text, file: "the flags") }
    }
    guard database.isEmpty else {
      throw Failure("--config stands for the flags that describe a database and how to join; give one or the other")
    }
    try await process.run(file: config) {
      var configuration = try TeleportConfiguration.load(path: config)
      configuration.isAuthEnabled = false
      configuration.isProxyEnabled = false
      configuration.discovery.isEnabled = false
      configuration.isDatabaseEnabled = true
      return configuration
    }
  }
}
