import ClusterMember
import ConfigurationFile
import ControlAPI
import ControlClient
import DatabaseService
import Doctor
import PKI

/// What the running cluster knows of databases, as far as this host may ask: all on the Auth Service's, elsewhere what the
/// Database Service decides by.
struct ClusterAtHand {
  let name: String
  /// Databases that were made with `tctl create`.
  let dynamic: [DatabaseResource]
  /// The databases that are served now; `nil`: this host may not ask.
  let served: [DatabaseListing]?

  /// - Returns: `nil` if this host is part of no cluster yet.
  /// - Throws: `ToolError`, `PKIError` or `ConfigurationError` if it is and the cluster does not answer.
  static func ask(_ configuration: TeleportConfiguration) async throws -> ClusterAtHand? {
    if configuration.isAuthEnabled {
      guard let administrator = try LocalAdministrator(dataDirectory: configuration.dataDirectory) else { return nil }
      return try await administrator.makeClient(address: configuration.localAddress).closing { client in
        let status: ClusterStatus = try await client.get("/v1/status")
        return ClusterAtHand(
          name: status.clusterName, dynamic: try await client.get("/v1/resources/\(DatabaseResource.kind)"),
          served: try await client.get("/v1/databases"))
      }
    }
    let servers = configuration.membership.servers
    guard !servers.isEmpty else { return nil }
    let snapshot = try await Membership.look(dataDirectory: configuration.dataDirectory, servers: servers)
    return snapshot.map { ClusterAtHand(name: $0.clusterName, dynamic: $0.databases ?? [], served: nil) }
  }

  func resource(named name: String) -> DatabaseResource? { dynamic.first { $0.name == name } }

  // MARK: Findings

  /// The cluster's view of a database of this host.
  ///
  /// - Parameters:
  ///   - uri: as this host would dial it.
  ///   - source: where it is described; see `DatabaseCatalog` for what counts of several.
  func finding(_ database: String, uri: String, from source: ServedDatabase.Origin) -> Finding {
    let origin =
      switch (source, resource(named: database)) {
      case (.dynamic, _): "this host's db_service.resources match db/\(database)"
      case (.file, nil): "'\(database)' is of teleport.yaml"
      case (.file, _): "teleport.yaml counts here, not db/\(database) of the same name"
      case (.cloud, nil): "'\(database)' is not in it, but found in AWS"
      case (.cloud, _): "what is found in AWS counts here: db_service.resources do not match db/\(database)"
      }
    guard let served else { return .works(.cluster, "'\(name)': \(origin)") }
    guard let listing = served.first(where: { $0.name == database }) else {
      return .broken(
        .cluster, "'\(name)': no Database Service serves '\(database)' now",
        mend: [
          "Start the Database Service, or have it read its configuration anew if it runs; its log says what keeps it:",
          "",
          "  systemctl reload-or-restart teleport", "  journalctl -u teleport",
        ] + (source == .cloud ? ["", "What has just appeared in AWS is served after db_service.poll_interval."] : []))
    }
    let isCurrent = listing.uri == uri
    return .works(
      .cluster,
      "'\(name)': \(origin); it is served now"
        + (isCurrent ? "" : ", but at \(listing.uri): the service has not read the configuration anew"))
  }

  /// A resource that none of the host's matchers means.
  func unmatched(_ resource: DatabaseResource) -> Finding {
    let labels = (resource.metadata.labels ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
    return .broken(
      .cluster, "'\(name)' has db/\(resource.name), but this host's db_service.resources do not match its labels",
      mend: [
        "Its labels are {\(labels.joined(separator: ", "))}. Change them ('tctl edit db/\(resource.name)'), or write into",
        "teleport.yaml of the host that is to serve it, under db_service:", "", "  resources:", "  - labels:",
      ] + (labels.isEmpty ? ["      '*': '*'"] : labels.map { "      \($0)" }))
  }

  /// The cluster does not answer. What the file says can be looked at all the same.
  static func unreachable(_ error: any Error) -> Finding {
    let refusal = error as? ToolError
    guard refusal?.status == 403 else { return .skipped(.cluster, "not asked: \(error)") }
    return .broken(
      .cluster, refusal?.message ?? "\(error)",
      mend: [refusal?.hint ?? "Ask an administrator of the cluster: 'tctl get locks' shows who is shut out."])
  }
}
