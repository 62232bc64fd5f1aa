import AccessControl

/// A database that is not in any teleport.yaml (`kind: db`, `version: v3`): Database Services whose `resources` match its
/// labels serve it.
public struct DatabaseResource: ClusterResource, Equatable {
  public static let kind = "db"

  public struct Spec: Codable, Sendable, Equatable {
    /// Always `postgres`.
    public var `protocol`: String
    /// HOST:PORT, as the Database Service dials it.
    public var uri: String
    public var tls: TLS?
    public var aws: AWS?
    public var pool: Pool?

    public init(protocol: String = "postgres", uri: String, tls: TLS? = nil, aws: AWS? = nil) {
      self.protocol = `protocol`
      self.uri = uri
      self.tls = tls
      self.aws = aws
    }

    enum CodingKeys: String, CodingKey {
      case `protocol`, uri, tls, aws, pool
      case caCert = "ca_cert"
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys(
        enforced: ["protocol", "uri", "tls", "aws", "pool", "ca_cert"],
        foreign: ["mysql", "oracle", "mongo_atlas", "gcp", "azure", "ad"],
        unenforced: ["dynamic_labels": [], "admin_user": []]
      ).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      `protocol` = try values.decode(String.self, forKey: .protocol)
      uri = try values.decode(String.self, forKey: .uri)
      tls = try values.decodeIfPresent(TLS.self, forKey: .tls)
      aws = try values.decodeIfPresent(AWS.self, forKey: .aws)
      pool = try values.decodeIfPresent(Pool.self, forKey: .pool)
      // Teleport's older place of tls.ca_cert.
      if let certificate = try values.decodeIfPresent(String.self, forKey: .caCert), !certificate.isEmpty {
        var tls = self.tls ?? TLS()
        tls.caCert = tls.caCert ?? certificate
        self.tls = tls
      }
    }

    public func encode(to encoder: any Encoder) throws {
      var values = encoder.container(keyedBy: CodingKeys.self)
      try values.encode(`protocol`, forKey: .protocol)
      try values.encode(uri, forKey: .uri)
      try values.encodeIfPresent(tls, forKey: .tls)
      try values.encodeIfPresent(aws, forKey: .aws)
      try values.encodeIfPresent(pool, forKey: .pool)
    }
  }

  /// How its certificate is checked.
  public struct TLS: Codable, Sendable, Equatable {
    /// `verify-full` (if absent), `verify-ca` or `insecure`.
    public var mode: String?
    /// PEM of the CA to trust; absent: the system's.
    public var caCert: String?
    public var serverName: String?

    enum CodingKeys: String, CodingKey {
      case mode
      case caCert = "ca_cert"
      case serverName = "server_name"
    }

    public init(mode: String? = nil, caCert: String? = nil, serverName: String? = nil) {
      self.mode = mode
      self.caCert = caCert
      self.serverName = serverName
    }

    public init(from decoder: any Decoder) throws {
      try Self.refuseFile(decoder)
      try RoleKeys(enforced: ["mode", "ca_cert", "server_name"], unenforced: ["trust_system_cert_pool": ["false"]])
        .check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      mode = try values.decodeIfPresent(String.self, forKey: .mode)
      caCert = try values.decodeIfPresent(String.self, forKey: .caCert)
      serverName = try values.decodeIfPresent(String.self, forKey: .serverName)
    }

    private enum FileKeys: String, CodingKey { case file = "ca_cert_file" }

    /// A path means something in teleport.yaml, on one host.
    private static func refuseFile(_ decoder: any Decoder) throws {
      guard try decoder.container(keyedBy: FileKeys.self).contains(.file) else { return }
      throw RoleError(
        "'ca_cert_file' is for teleport.yaml; write the certificate itself as ca_cert",
        at: decoder.codingPath.map(\.stringValue) + ["ca_cert_file"])
    }
  }

  /// How AWS is asked for a login.
  public struct AWS: Codable, Sendable, Equatable {
    public var region: String?
    public var accountID: String?
    public var assumeRoleARN: String?
    public var externalID: String?
    public var redshiftServerless: RedshiftServerless?
    public var redshift: Redshift?

    enum CodingKeys: String, CodingKey {
      case region
      case accountID = "account_id"
      case assumeRoleARN = "assume_role_arn"
      case externalID = "external_id"
      case redshiftServerless = "redshift_serverless"
      case redshift
    }

    public init(
      region: String? = nil, accountID: String? = nil, assumeRoleARN: String? = nil, externalID: String? = nil,
      redshiftServerless: RedshiftServerless? = nil, redshift: Redshift? = nil
    ) {
      self.region = region
      self.accountID = accountID
      self.assumeRoleARN = assumeRoleARN
      self.externalID = externalID
      self.redshiftServerless = redshiftServerless
      self.redshift = redshift
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys(
        enforced: ["region", "account_id", "assume_role_arn", "external_id", "redshift_serverless", "redshift"],
        unenforced: [
          "rds": [], "rdsproxy": [], "elasticache": [], "elasticache_serverless": [], "memorydb": [],
          "opensearch": [], "secret_store": [], "session_tags": [], "iam_policy_status": ["0", ""],
        ]
      ).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      region = try values.decodeIfPresent(String.self, forKey: .region)
      accountID = try values.decodeIfPresent(String.self, forKey: .accountID)
      assumeRoleARN = try values.decodeIfPresent(String.self, forKey: .assumeRoleARN)
      externalID = try values.decodeIfPresent(String.self, forKey: .externalID)
      redshiftServerless = try values.decodeIfPresent(RedshiftServerless.self, forKey: .redshiftServerless)
      redshift = try values.decodeIfPresent(Redshift.self, forKey: .redshift)
    }
  }

  /// A provisioned cluster.
  public struct Redshift: Codable, Sendable, Equatable {
    public var clusterID: String?

    enum CodingKeys: String, CodingKey { case clusterID = "cluster_id" }

    public init(clusterID: String? = nil) { self.clusterID = clusterID }

    public init(from decoder: any Decoder) throws {
      try RoleKeys(enforced: ["cluster_id"]).check(decoder)
      clusterID = try decoder.container(keyedBy: CodingKeys.self).decodeIfPresent(String.self, forKey: .clusterID)
    }
  }

  public struct RedshiftServerless: Codable, Sendable, Equatable {
    public var workgroupName: String?
    public var endpointName: String?

    enum CodingKeys: String, CodingKey {
      case workgroupName = "workgroup_name"
      case endpointName = "endpoint_name"
    }

    public init(workgroupName: String? = nil, endpointName: String? = nil) {
      self.workgroupName = workgroupName
      self.endpointName = endpointName
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys(enforced: ["workgroup_name", "endpoint_name"], foreign: ["workgroup_id"]).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      workgroupName = try values.decodeIfPresent(String.self, forKey: .workgroupName)
      endpointName = try values.decodeIfPresent(String.self, forKey: .endpointName)
    }
  }

  public var kind: String
  public var version: String
  public var metadata: ResourceMetadata
  public var spec: Spec

  public init(name: String, labels: [String: String] = [:], spec: Spec) {
    (kind, version) = (Self.kind, "v3")
    metadata = ResourceMetadata(name: name, labels: labels.isEmpty ? nil : labels)
    self.spec = spec
  }

  public init(from decoder: any Decoder) throws {
    try RoleKeys.resource.check(decoder)
    let values = try decoder.container(keyedBy: CodingKeys.self)
    kind = try values.decode(String.self, forKey: .kind)
    version = try values.decodeIfPresent(String.self, forKey: .version) ?? "v3"
    metadata = try values.decode(ResourceMetadata.self, forKey: .metadata)
    spec = try values.decode(Spec.self, forKey: .spec)
    try validate()
  }

  private static let maximumLabels = 256
  private static let maximumText = 64 * 1024

  /// Checks its form; what a Database Service makes of it, `DatabaseConfiguration` and what is built on it check.
  public func validate() throws {
    try checkHeader(kind, version, allowed: "v3")
    guard metadata.labels?.count ?? 0 <= Self.maximumLabels else {
      throw RoleError("a database has at most \(Self.maximumLabels) labels", at: ["metadata", "labels"])
    }
    guard spec.tls?.caCert?.utf8.count ?? 0 <= Self.maximumText else {
      throw RoleError("ca_cert has at most \(Self.maximumText) bytes", at: ["spec", "tls", "ca_cert"])
    }
  }
}
