/// A role: what its holders may reach, what they may never reach, and for how long.
///
/// The resource has Teleport's shape (`kind: role`, versions v3 to v7). Keys that concern other protocols than
/// databases are accepted and kept out; keys that would restrict database sessions but are not enforced, and keys nobody
/// knows, are refused (`RoleKeys`).
public struct Role: ClusterResource, Equatable {
  public static let kind = "role"
  /// Always `role`.
  public var kind: String
  /// `v3` to `v7`; decides what missing labels mean.
  public var version: String
  /// Name and description.
  public var metadata: Metadata
  /// What it allows and denies.
  public var spec: Spec

  public typealias Metadata = ResourceMetadata

  /// The two sides of a role and its limits.
  public struct Spec: Codable, Sendable, Equatable {
    /// What it opens.
    public var allow: Conditions
    /// What it closes, whatever any role opens.
    public var deny: Conditions
    /// Limits of sessions and certificates.
    public var options: Options

    public init(allow: Conditions = .init(), deny: Conditions = .init(), options: Options = .init()) {
      self.allow = allow
      self.deny = deny
      self.options = options
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys.spec.check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      allow = try values.decodeIfPresent(Conditions.self, forKey: .allow) ?? .init()
      deny = try values.decodeIfPresent(Conditions.self, forKey: .deny) ?? .init()
      options = try values.decodeIfPresent(Options.self, forKey: .options) ?? .init()
    }
  }

  /// A role as code makes it; not validated.
  public init(name: String, version: String = "v7", spec: Spec) {
    kind = "role"
    self.version = version
    metadata = Metadata(name: name)
    self.spec = spec
  }

  public init(from decoder: any Decoder) throws {
    try RoleKeys.resource.check(decoder)
    let values = try decoder.container(keyedBy: CodingKeys.self)
    kind = try values.decode(String.self, forKey: .kind)
    version = try values.decodeIfPresent(String.self, forKey: .version) ?? "v7"
    metadata = try values.decode(Metadata.self, forKey: .metadata)
    spec = try values.decodeIfPresent(Spec.self, forKey: .spec) ?? .init()
    try validate()
  }
}

extension Role {
  /// One side of a role: selectors over databases and rules over the cluster's own resources.
  public struct Conditions: Codable, Sendable, Equatable {
    /// `nil` where the role does not say; what that means depends on the role's version.
    public var databaseLabels: [String: Values]?
    /// Names of databases; each a literal, a glob, a `^regex$` or a template.
    public var databaseNames: [String]
    /// Database users, likewise.
    public var databaseUsers: [String]
    /// Sallyport's own: permits replication connections.
    public var databaseReplication: Bool
    /// Verbs on the cluster's own resources.
    public var rules: [Rule]

    enum CodingKeys: String, CodingKey, CaseIterable {
      case databaseLabels = "db_labels"
      case databaseNames = "db_names"
      case databaseUsers = "db_users"
      case databaseReplication = "db_replication"
      case rules
    }

    public init(
      databaseLabels: [String: Values]? = nil, databaseNames: [String] = [], databaseUsers: [String] = [],
      databaseReplication: Bool = false, rules: [Rule] = []
    ) {
      self.databaseLabels = databaseLabels
      self.databaseNames = databaseNames
      self.databaseUsers = databaseUsers
      self.databaseReplication = databaseReplication
      self.rules = rules
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys.conditions.check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      databaseLabels = try values.decodeIfPresent([String: Values].self, forKey: .databaseLabels)
      databaseNames = try values.decodeIfPresent([String].self, forKey: .databaseNames) ?? []
      databaseUsers = try values.decodeIfPresent([String].self, forKey: .databaseUsers) ?? []
      databaseReplication = try values.decodeIfPresent(RoleFlag.self, forKey: .databaseReplication)?.isOn ?? false
      rules = try values.decodeIfPresent([Rule].self, forKey: .rules) ?? []
    }
  }

  /// One value or a list of them, as label selectors allow both.
  public struct Values: Codable, Sendable, Equatable, ExpressibleByArrayLiteral {
    /// The values; one of them has to match.
    public var all: [String]

    public init(_ all: [String]) { self.all = all }
    public init(arrayLiteral elements: String...) { all = elements }

    public init(from decoder: any Decoder) throws {
      let value = try decoder.singleValueContainer()
      if let one = try? value.decode(String.self) { all = [one] } else { all = try value.decode([String].self) }
    }

    public func encode(to encoder: any Encoder) throws {
      var value = encoder.singleValueContainer()
      if all.count == 1 { try value.encode(all[0]) } else { try value.encode(all) }
    }
  }

  /// Verbs on the cluster's own resources, `*` standing for all.
  public struct Rule: Codable, Sendable, Equatable {
    /// Kinds of resources, such as `role` or `token`.
    public var resources: [String]
    /// Such as `list` or `create`.
    public var verbs: [String]

    public init(resources: [String], verbs: [String]) {
      self.resources = resources
      self.verbs = verbs
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys.rule.check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      resources = try values.decode([String].self, forKey: .resources)
      verbs = try values.decode([String].self, forKey: .verbs)
    }
  }

  /// Limits of a role's holders; over several roles the strictest counts.
  public struct Options: Codable, Sendable, Equatable {
    /// Longest life of a certificate.
    public var maxSessionTTL: GoDuration?
    /// Silence after which a session ends; `never` and 0 mean no limit.
    public var clientIdleTimeout: GoDuration?
    /// Whether sessions end with the certificate.
    public var disconnectExpiredCertificate: Bool?
    /// How many database sessions a holder may have at once; 0 means no limit.
    public var maxConnections: Int?

    enum CodingKeys: String, CodingKey, CaseIterable {
      case maxSessionTTL = "max_session_ttl"
      case clientIdleTimeout = "client_idle_timeout"
      case disconnectExpiredCertificate = "disconnect_expired_cert"
      case maxConnections = "max_connections"
    }

    public init(
      maxSessionTTL: GoDuration? = nil, clientIdleTimeout: GoDuration? = nil,
      disconnectExpiredCertificate: Bool? = nil, maxConnections: Int? = nil
    ) {
      self.maxSessionTTL = maxSessionTTL
      self.clientIdleTimeout = clientIdleTimeout
      self.disconnectExpiredCertificate = disconnectExpiredCertificate
      self.maxConnections = maxConnections
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys.options.check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      maxSessionTTL = try values.decodeIfPresent(GoDuration.self, forKey: .maxSessionTTL)
      clientIdleTimeout = try values.decodeIfPresent(GoDuration.self, forKey: .clientIdleTimeout)
      disconnectExpiredCertificate =
        try values.decodeIfPresent(RoleFlag.self, forKey: .disconnectExpiredCertificate)?.isOn
      maxConnections = try values.decodeIfPresent(RoleCount.self, forKey: .maxConnections)?.value
    }
  }
}
