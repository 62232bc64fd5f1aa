import ConfigurationFile
import DatabaseService
import Discovery
import Logging

extension AWSDiscovery.Settings {
  static func ofDatabaseService(_ configuration: TeleportConfiguration) throws -> Self {
    try Self(configuration.awsMatchers, interval: configuration.pollInterval)
  }
}

extension Services {
  /// Serves what is found in AWS, as it changes, until cancelled.
  func serve(whatIsFoundBy discovery: AWSDiscovery) async throws {
    try await discovery.run { findings in
      guard catalog.use(found: findings.databases) else { return }
      do {
        try await report()
      } catch {
        Logger(label: "discovery").error("the cluster has not heard yet what was found: \(error)")
      }
    }
  }
}
