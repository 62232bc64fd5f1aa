import AWS
import AccessControl
import ConfigurationFile
import ControlAPI
import DatabaseService
import Discovery
import Doctor
import Foundation
import Logging

/// The database that the doctor is asked about, from where the Database Service of this host would have it: teleport.yaml, else
/// a resource of the cluster, else AWS.
struct DoctorSubject {
  /// `nil`: this host does not serve it, and the findings say why.
  let configuration: DatabaseConfiguration?
  /// About the cluster and, if it was asked, AWS.
  let findings: [Finding]

  /// - Parameter config: the path of teleport.yaml, if it was named.
  /// - Throws: `Failure` if nobody has a database of that name, as far as can be told.
  static func find(_ name: String, config: String?) async throws -> DoctorSubject {
    do {
      let path = TeleportConfiguration.path(explicit: config, environment: ProcessInfo.processInfo.environment)
      return try await Search(name: name, configuration: TeleportConfiguration.load(path: path)).find()
    } catch let error as ConfigurationError {
      throw Failure(error.description)
    } catch let error as RoleError {
      throw Failure("db/\(name) cannot be read: \(error.description)")
    }
  }
}

private struct Search {
  let name: String
  let configuration: TeleportConfiguration

  /// Names that an error lists.
  private static let shown = 10

  func find() async throws -> DoctorSubject {
    let own = configuration.databases.first { $0.name == name }
    let cluster: ClusterAtHand?
    do {
      cluster = try await ClusterAtHand.ask(configuration)
    } catch {
      let silence = ClusterAtHand.unreachable(error)
      if let own { return DoctorSubject(configuration: own, findings: [silence]) }
      return try await inAWS(
        { _ in silence }, otherwise: nil, "the cluster, which may have it, does not answer: \(error)")
    }
    guard let cluster else {
      let outside = "this host is not part of a cluster yet"
      let skipped = Finding.skipped(.cluster, "not asked: \(outside)")
      if let own { return DoctorSubject(configuration: own, findings: [skipped]) }
      return try await inAWS({ _ in skipped }, otherwise: nil, outside)
    }
    func known(_ database: DatabaseConfiguration, from source: ServedDatabase.Origin) -> DoctorSubject {
      DoctorSubject(configuration: database, findings: [cluster.finding(name, uri: database.uri, from: source)])
    }
    if let own { return known(own, from: .file) }
    let resource = cluster.resource(named: name)
    if let resource, let matched = try DatabaseConfiguration(resource, matchers: configuration.databaseMatchers) {
      return known(matched, from: .dynamic)
    }
    return try await inAWS(
      { cluster.finding(name, uri: $0, from: .cloud) }, otherwise: resource.map(cluster.unmatched),
      "cluster '\(cluster.name)' has no db/\(name) either")
  }

  /// Looks where `db_service.aws` says, once.
  ///
  /// - Parameters:
  ///   - found: the cluster's view of it by its address, if it is there.
  ///   - otherwise: the same if it is not; `nil`: then nobody has it.
  private func inAWS(
    _ found: (String) -> Finding, otherwise: Finding?, _ elsewhere: String
  ) async throws -> DoctorSubject {
    guard configuration.isDatabaseEnabled, !configuration.awsMatchers.isEmpty else {
      guard let otherwise else { throw missing(elsewhere) }
      return DoctorSubject(configuration: nil, findings: [otherwise])
    }
    let settings = try AWSDiscovery.Settings(configuration.awsMatchers, interval: configuration.pollInterval)
    // What fails is a finding here, not a line of a log.
    let quiet = Logger(label: "discovery") { _ in SwiftLogNoOpLogHandler() }
    let seen = await AWSDiscovery(settings, logger: quiet).look()
    if let resource = seen.databases.first(where: { $0.name == name }) {
      let database = try DatabaseConfiguration(resource)
      let place = [resource.spec.aws?.region, resource.spec.aws?.assumeRoleARN].compactMap { $0 }
      return DoctorSubject(
        configuration: database,
        findings: [.works(.discovery, "found in \(place.joined(separator: " as "))"), found(database.uri)])
    }
    guard seen.failures.isEmpty else {
      return DoctorSubject(configuration: nil, findings: [failure(seen)] + (otherwise.map { [$0] } ?? []))
    }
    guard let otherwise else { throw missing("\(elsewhere); in AWS db_service.aws finds \(text(seen.databases))") }
    return DoctorSubject(configuration: nil, findings: [otherwise])
  }

  private func failure(_ seen: Findings) -> Finding {
    let failures = seen.failures.map { (place: $0.place, error: $0.error, known: $0.error as? any AWSFailure) }
    let reasons = failures.map { "\($0.place): \($0.known?.details ?? "\($0.error)")" }
    return .broken(
      .discovery, "'\(name)' may be where AWS cannot be looked at, \(reasons.joined(separator: "; "))",
      mend: failures.compactMap { failure in failure.known?.mend.map { "\(failure.place): \($0)" } } + [
        "'teleport db configure bootstrap' gives the permissions that looking needs; else mend db_service.aws."
      ])
  }

  private func missing(_ elsewhere: String) -> Failure {
    let names = configuration.databases.map(\.name).joined(separator: ", ")
    return Failure("teleport.yaml has no database '\(name)'; it has: \(names.isEmpty ? "none" : names); \(elsewhere)")
  }

  /// Those that are called so in AWS, before their place was added to the name; else the first.
  private func text(_ databases: [DatabaseResource]) -> String {
    let called = databases.filter { $0.metadata.labels?[DiscoveryLabels.discoveredName] == name }
    let names = (called.isEmpty ? databases : called).map(\.name)
    guard !names.isEmpty else { return "none" }
    let more = names.count - Self.shown
    return names.prefix(Self.shown).joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
  }
}
