import ConfigurationFile
import ControlAPI
import DatabaseService
import Discovery
import Gateway
import Logging

/// What a process looks for in AWS.
struct Looking: Sendable {
  /// To serve it itself; `nil`: it has no Database Service.
  let served: AWSDiscovery.Settings?
  /// To tell the cluster of; `nil`: it has no Discovery Service.
  let shared: AWSDiscovery.Settings?

  /// - Throws: `ConfigurationError` for a matcher that cannot be used.
  init(_ configuration: TeleportConfiguration) throws {
    served =
      configuration.isDatabaseEnabled
      ? try .init(configuration.awsMatchers, interval: configuration.pollInterval) : nil
    let discovery = configuration.discovery
    shared = discovery.isEnabled ? try .init(discovery.matchers, interval: discovery.pollInterval) : nil
  }
}

/// Who looks for it.
struct Discoveries: Sendable {
  let served: AWSDiscovery?
  let shared: AWSDiscovery?

  init(_ looking: Looking) {
    served = looking.served.map { AWSDiscovery($0) }
    shared = looking.shared.map { AWSDiscovery($0) }
  }

  /// Takes up other settings.
  func use(_ looking: Looking) async {
    if let settings = looking.served { await served?.use(settings) }
    if let settings = looking.shared { await shared?.use(settings) }
  }
}

extension Services {
  /// Serves what is found in AWS, as it changes, until cancelled.
  func serve(whatIsFoundBy discovery: AWSDiscovery, _ running: RunningGateway) async throws {
    try await discovery.run { findings in
      guard catalog.use(found: findings.databases) else { return true }
      do {
        try await report(names: running)
      } catch {
        // Heartbeats go on: the next one tells.
        Logger(label: "discovery").error("the cluster has not heard yet what was found: \(error)")
      }
      return true
    }
  }
}

/// Makes resources of the cluster of what is found: those of one discovery group, and no others.
actor DiscoverySharing {
  private let side: any ClusterSide
  private let group: String
  /// What has been said of those that the cluster did not take.
  private var complaints: [String: String] = [:]
  private let logger = Logger(label: "discovery")

  init(_ side: any ClusterSide, group: String) {
    self.side = side
    self.group = group
  }

  /// Shares what is found, as it changes, until cancelled.
  func run(_ discovery: AWSDiscovery) async throws {
    try await discovery.run { findings in
      do {
        try await self.share(findings)
        return true
      } catch {
        Logger(label: "discovery").warning("the cluster has not heard yet what was found: \(error)")
        return false
      }
    }
  }

  /// The cluster says what is there already, so that a process that has just started removes what vanished before.
  private func share(_ findings: Findings) async throws {
    let present = try side.databases.filter { $0.discoveryGroup == group }
    let before = Dictionary(present.map { ($0.name, $0) }) { first, _ in first }
    let doubtful = Set(present.filter(findings.mayStillBeThere).map(\.name))
    let wanted = findings.databases.filter { !doubtful.contains($0.name) }.map { $0.owned(by: group) }
    let names = doubtful.union(wanted.map(\.name))
    var requests: [DiscoveredDatabases] = []
    for removed in before.keys.filter({ !names.contains($0) }).sorted().chunks(of: DiscoveredDatabases.maximumCount) {
      requests.append(DiscoveredDatabases(group: group, removed: removed))
    }
    for changed in wanted.filter({ before[$0.name] != $0 }).chunks(of: DiscoveredDatabases.maximumCount) {
      requests.append(DiscoveredDatabases(group: group, databases: changed))
    }
    var refused: [String: String] = [:]
    for request in requests { refused.merge(try await side.share(request).refused) { $1 } }
    for (name, reason) in refused.sorted(by: { $0.key < $1.key }) where complaints[name] != reason {
      logger.warning("'\(name)', found in AWS, has not become a db of the cluster: \(reason)")
    }
    complaints = refused
  }
}

extension Array {
  fileprivate func chunks(of size: Int) -> [[Element]] {
    stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min($0 + size, count)]) }
  }
}
