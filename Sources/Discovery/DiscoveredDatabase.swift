import AWS
import AccessControl
import ControlAPI

/// A database as AWS lists it, before it has a name in the cluster.
struct DiscoveredDatabase: Sendable, Equatable {
  /// Names it in all of AWS.
  let arn: String
  let type: DatabaseType
  let account: String
  let region: String
  /// In its account and region, and among those of its endpoint type.
  let nameInAWS: String
  let endpointType: EndpointType?
  let description: String
  let labels: [String: String]
  let spec: DatabaseResource.Spec

  /// Value of the label `endpoint-type`.
  enum EndpointType: String {
    case workgroup
    case vpcEndpoint = "vpc-endpoint"
  }

  /// The account in an ARN; `nil` if it names none.
  private static func account(ofARN arn: String) -> String? {
    let parts = arn.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
    guard parts.count == 6, parts[0] == "arn", RoleARN.isAccount(String(parts[4])) else { return nil }
    return String(parts[4])
  }

  private static func address(_ host: String?, _ port: Int?) -> String? {
    guard let host, !host.isEmpty, let port, (1...65535).contains(port) else { return nil }
    return "\(host):\(port)"
  }

  /// - Returns: `nil` for one that cannot be connected to, now or yet.
  init?(_ workgroup: RedshiftServerlessClient.Workgroup, tags: [String: String], at place: Place) {
    guard let account = Self.account(ofARN: workgroup.workgroupArn), workgroup.isAvailable,
      let uri = Self.address(workgroup.endpoint?.address, workgroup.endpoint?.port)
    else { return nil }
    (arn, self.account, region) = (workgroup.workgroupArn, account, place.region)
    (type, endpointType, nameInAWS) = (.redshiftServerless, .workgroup, workgroup.workgroupName)
    description = "Redshift Serverless workgroup in \(place.region)"
    labels = DiscoveryLabels.make(
      [
        .endpointType: EndpointType.workgroup.rawValue, .workgroup: workgroup.workgroupName,
        .namespace: workgroup.namespaceName, .vpcID: workgroup.endpoint?.vpcEndpoints?.first?.vpcId,
      ], type: type, account: account, region: place.region, tags: tags)
    spec = DatabaseResource.Spec(
      uri: uri,
      aws: place.settings(
        account: account, redshiftServerless: .init(workgroupName: workgroup.workgroupName)))
  }

  /// - Parameter workgroup: that it is an endpoint of.
  /// - Returns: `nil` for one that cannot be connected to, now or yet.
  init?(
    _ endpoint: RedshiftServerlessClient.EndpointAccess, of workgroup: RedshiftServerlessClient.Workgroup,
    tags: [String: String], at place: Place
  ) {
    guard let account = Self.account(ofARN: endpoint.endpointArn), endpoint.isAvailable,
      let uri = Self.address(endpoint.address, endpoint.port)
    else { return nil }
    (arn, self.account, region) = (endpoint.endpointArn, account, place.region)
    (type, endpointType, nameInAWS) = (.redshiftServerless, .vpcEndpoint, endpoint.endpointName)
    description = "Redshift Serverless endpoint in \(place.region)"
    labels = DiscoveryLabels.make(
      [
        .endpointType: EndpointType.vpcEndpoint.rawValue, .workgroup: endpoint.workgroupName,
        .namespace: workgroup.namespaceName, .vpcID: endpoint.vpcEndpoint?.vpcId,
      ], type: type, account: account, region: place.region, tags: tags)
    // The certificate there is the workgroup's.
    spec = DatabaseResource.Spec(
      uri: uri, tls: workgroup.endpoint?.address.map { .init(serverName: $0) },
      aws: place.settings(
        account: account,
        redshiftServerless: .init(workgroupName: endpoint.workgroupName, endpointName: endpoint.endpointName)))
  }

  /// - Returns: `nil` for one that cannot be connected to, now or yet.
  init?(_ cluster: RedshiftClient.Cluster, at place: Place) {
    guard let arn = cluster.namespaceARN, let account = Self.account(ofARN: arn), cluster.isAvailable,
      let uri = Self.address(cluster.address, cluster.port)
    else { return nil }
    (self.arn, self.account, region) = (arn, account, place.region)
    (type, endpointType, nameInAWS) = (.redshift, nil, cluster.identifier)
    description = "Redshift cluster in \(place.region)"
    labels = DiscoveryLabels.make(
      [.vpcID: cluster.vpcID], type: type, account: account, region: place.region, tags: cluster.tags)
    spec = DatabaseResource.Spec(
      uri: uri, aws: place.settings(account: account, redshift: .init(clusterID: cluster.identifier)))
  }

  /// The database under a name in the cluster.
  func resource(named name: String) -> DatabaseResource {
    var labels = labels
    if name != nameInAWS { labels[DiscoveryLabels.discoveredName] = nameInAWS }
    var resource = DatabaseResource(name: name, labels: labels, spec: spec)
    resource.metadata.description = description
    return resource
  }
}

extension Place {
  fileprivate func settings(
    account: String, redshiftServerless: DatabaseResource.RedshiftServerless? = nil,
    redshift: DatabaseResource.Redshift? = nil
  ) -> DatabaseResource.AWS {
    DatabaseResource.AWS(
      region: region, accountID: account, assumeRoleARN: role?.description, externalID: externalID,
      redshiftServerless: redshiftServerless, redshift: redshift)
  }
}

// While something is being changed it can be connected to as a rule; a state that is not known counts as good.
extension RedshiftServerlessClient.Workgroup {
  fileprivate var isAvailable: Bool { !["CREATING", "DELETING"].contains(status) }
}

extension RedshiftServerlessClient.EndpointAccess {
  fileprivate var isAvailable: Bool { !["CREATING", "DELETING"].contains(endpointStatus) }
}

extension RedshiftClient.Cluster {
  fileprivate var isAvailable: Bool {
    !["Unavailable", "Failed", "Paused"].contains(availability)
      && !["creating", "deleting", "final-snapshot", "paused"].contains(status)
  }
}
