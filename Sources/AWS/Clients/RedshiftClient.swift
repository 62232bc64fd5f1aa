import Foundation
import Secrets
import TextForms

/// Provisioned clusters of Redshift over the query protocol (Amazon Redshift API Reference, version 2012-12-01).
public struct RedshiftClient: Sendable {
  private let caller: AWSCaller
  private let region: String
  private let credentials: AWSCredentials

  public init(caller: AWSCaller, region: String, credentials: AWSCredentials) {
    self.caller = caller
    self.region = region
    self.credentials = credentials
  }

  /// A cluster, as far as it matters here.
  public struct Cluster: Sendable {
    public let identifier: String
    /// Of its namespace: says which account it is of.
    public let namespaceARN: String?
    /// `available` when it can be connected to.
    public let status: String
    /// `Available`, `Maintenance`, `Modifying`, `Unavailable` or `Failed`.
    public let availability: String?
    /// `nil` until it has one.
    public let address: String?
    public let port: Int?
    public let databaseName: String?
    public let customDomainName: String?
    public let vpcID: String?
    public let tags: [String: String]
  }

  /// GetClusterCredentials: a temporary login as a database user of any name, which has to exist.
  public func getClusterCredentials(
    cluster: String, user: String, database: String
  ) async throws -> DatabaseCredentials {
    try await logIn(
      "GetClusterCredentials",
      [("DbUser", user), ("DbName", database), ("ClusterIdentifier", cluster), ("AutoCreate", "false")],
      on: "dbuser:\(cluster)/\(user)")
  }

  /// GetClusterCredentialsWithIAM: a temporary login as the caller itself, `IAMR:` and the role's name.
  public func getClusterCredentialsWithIAM(cluster: String, database: String) async throws -> DatabaseCredentials {
    try await logIn(
      "GetClusterCredentialsWithIAM", [("DbName", database), ("ClusterIdentifier", cluster)],
      on: "dbname:\(cluster)/\(database)")
  }

  /// The least that AWS takes: a cluster with all its tags has some 20 KB of XML.
  private static let pageSize = "20"

  /// DescribeClusters: all of them, or the one of that name.
  public func clusters(_ identifier: String? = nil) async throws -> [Cluster] {
    try await AWSCaller.allPages { marker in
      let answer = try await call(
        "DescribeClusters",
        (identifier.map { [("ClusterIdentifier", $0)] } ?? [("MaxRecords", Self.pageSize)])
          + (marker.map { [("Marker", $0)] } ?? []), on: "*")
      return (answer.list("Clusters").compactMap(Self.cluster), answer.value("Marker"))
    }
  }

  static func cluster(_ element: XMLTree) -> Cluster? {
    guard let identifier = element.value("ClusterIdentifier") else { return nil }
    return Cluster(
      identifier: identifier, namespaceARN: element.value("ClusterNamespaceArn"),
      status: element.value("ClusterStatus") ?? "", availability: element.value("ClusterAvailabilityStatus"),
      address: element.value("Endpoint", "Address"), port: element.value("Endpoint", "Port").flatMap { Int($0) },
      databaseName: element.value("DBName"), customDomainName: element.value("CustomDomainName"),
      vpcID: element.value("VpcId"),
      tags: AWSTag.pairs(
        element.list("Tags").map { AWSTag(key: $0.value("Key") ?? "", value: $0.value("Value") ?? "") }))
  }

  private func logIn(
    _ action: String, _ parameters: [(name: String, value: String)], on resource: String
  ) async throws -> DatabaseCredentials {
    let answer = try await call(
      action, parameters + [("DurationSeconds", "\(DatabaseCredentials.duration)")], on: resource)
    guard let user = answer.value("DbUser"), let password = answer.value("DbPassword"),
      let end = answer.value("Expiration").flatMap(Timestamp.date)
    else { throw AWSError("InvalidResponse", "redshift answered \(action) without credentials") }
    return DatabaseCredentials(
      user: user, password: Secret(utf8: password), expiration: end,
      nextRefresh: answer.value("NextRefreshTime").flatMap(Timestamp.date))
  }

  private func call(
    _ action: String, _ parameters: [(name: String, value: String)], on resource: String
  ) async throws -> XMLTree {
    do {
      return try await caller.call(.redshift, action, parameters, region: region, credentials: credentials)
    } catch let error as AWSError where error.code.hasPrefix("AccessDenied") {
      throw error.mended("Allow redshift:\(action) on \(resource) in the role's permission policy.")
    } catch let error as AWSError where error.code == "ClusterNotFound" {
      throw error.mended("Check the cluster's name and the region '\(region)' of this database.")
    }
  }
}
