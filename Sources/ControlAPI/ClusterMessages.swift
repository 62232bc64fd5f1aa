import AccessControl
import Foundation

/// Body of `POST /v1/join`: a host that wants to become part of the cluster.
public struct JoinRequest: Codable, Sendable {
  /// The join token; proves by itself that the host may join, for the services the token is for.
  public var token: String
  /// Services the host will run: `proxy`, `db`.
  public var services: [String]
  /// What its administrator calls the host.
  public var hostName: String
  /// Names and addresses that clients dial a proxy by; of no effect for other services.
  public var publicNames: [String]
  public var signingRequestPEM: String

  public init(
    token: String, services: [String], hostName: String, publicNames: [String], signingRequestPEM: String
  ) {
    self.token = token
    self.services = services
    self.hostName = hostName
    self.publicNames = publicNames
    self.signingRequestPEM = signingRequestPEM
  }
}

/// Body of `POST /v1/hosts/renew`, which the host's present certificate vouches for.
public struct RenewalRequest: Codable, Sendable {
  public var publicNames: [String]
  public var signingRequestPEM: String

  public init(publicNames: [String], signingRequestPEM: String) {
    self.publicNames = publicNames
    self.signingRequestPEM = signingRequestPEM
  }
}

/// The answer to both.
public struct HostCertificate: Codable, Sendable {
  public var hostID: String
  public var clusterName: String
  public var certificatePEM: String
  public var issued: Date
  public var validUntil: Date
  public var authorities: AuthorityCertificates

  public init(
    hostID: String, clusterName: String, certificatePEM: String, issued: Date, validUntil: Date,
    authorities: AuthorityCertificates
  ) {
    self.hostID = hostID
    self.clusterName = clusterName
    self.certificatePEM = certificatePEM
    self.issued = issued
    self.validUntil = validUntil
    self.authorities = authorities
  }
}

/// Answer of `GET /v1/snapshot`: all that a host needs in order to decide without asking.
public struct ClusterSnapshot: Codable, Sendable {
  /// Grows with every change of what is in here.
  public var revision: Int64
  public var clusterName: String
  public var authorities: AuthorityCertificates
  public var roles: [Role]
  public var users: [UserListing]
  /// HOST:PORT of the proxies that report to the cluster.
  public var proxies: [String]
  /// Whom to shut out. One that is over may still be among them.
  public var locks: [Lock]
  /// Databases for those hosts whose `resources` match them; `nil` from an Auth Service that knows none yet.
  public var databases: [DatabaseResource]?

  public init(
    revision: Int64, clusterName: String, authorities: AuthorityCertificates, roles: [Role], users: [UserListing],
    proxies: [String], locks: [Lock], databases: [DatabaseResource]? = nil
  ) {
    self.revision = revision
    self.clusterName = clusterName
    self.authorities = authorities
    self.roles = roles
    self.users = users
    self.proxies = proxies
    self.locks = locks
    self.databases = databases
  }
}

/// Body of `POST /v1/hosts/heartbeat`: what a host offers for the next while.
public struct HostHeartbeat: Codable, Sendable, Equatable {
  /// HOST:PORT that clients and agents dial, if the host runs a proxy.
  public var proxyAddress: String?
  /// The databases it serves, if it runs the database service.
  public var databases: [DatabaseRecord]
  /// Version of its program; for listings only.
  public var version: String?

  public init(proxyAddress: String?, databases: [DatabaseRecord]) {
    self.proxyAddress = proxyAddress
    self.databases = databases
  }

  /// Seconds between heartbeats, and seconds after the last one when a host counts as gone.
  public static let interval = 10
  public static let lifetime = 35
}

/// A database as the host that serves it describes it.
public struct DatabaseRecord: Codable, Sendable, Equatable {
  public var name: String
  public var description: String
  public var `protocol`: String
  public var uri: String
  public var labels: [String: String]
  /// AWS account and region where database users are IAM roles: for equating a role's name with its ARN.
  public var accountID: String?
  public var region: String?
  /// The Redshift Serverless workgroup, and the role to assume before the user's, for explaining a login.
  public var workgroup: String?
  public var assumeRoleARN: String?
  /// The provisioned cluster of Redshift, whose users are names: what stands above of account and region is not of it.
  public var cluster: Cluster?
  /// Where it is described: `config-file` or `dynamic`.
  public var origin: String?

  /// Which provisioned cluster of Redshift it is.
  public struct Cluster: Codable, Sendable, Equatable {
    public var id: String
    public var account: String
    public var region: String

    public init(id: String, account: String, region: String) {
      self.id = id
      self.account = account
      self.region = region
    }
  }

  public init(
    name: String, description: String, protocol: String, uri: String, labels: [String: String], accountID: String?,
    region: String?, workgroup: String? = nil, assumeRoleARN: String? = nil, cluster: Cluster? = nil,
    origin: String? = nil
  ) {
    self.name = name
    self.description = description
    self.protocol = `protocol`
    self.uri = uri
    self.labels = labels
    self.accountID = accountID
    self.region = region
    self.workgroup = workgroup
    self.assumeRoleARN = assumeRoleARN
    self.cluster = cluster
    self.origin = origin
  }
}
