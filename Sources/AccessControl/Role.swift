/// A role: what its holders may reach, what they may never reach, and for how long.
///
/// The resource has Teleport's shape (`kind: role`, versions v3 to v7). Keys that concern other protocols than
/// databases are accepted and kept out; keys nobody knows are refused with the nearest known one.
public struct Role: Codable, Sendable, Equatable {
  public var kind: String
  public var version: String
  public var metadata: Metadata
  public var spec: Spec

  public struct Metadata: Codable, Sendable, Equatable {
    public var name: String
    public var description: String?
    public var labels: [String: String]?

    public init(name: String, description: String? = nil, labels: [String: String]? = nil) {
      self.name = name
      self.description = description
      self.labels = labels
    }
  }

  public struct Spec: Codable, Sendable, Equatable {
    public var allow: Conditions
    public var deny: Conditions
    public var options: Options

    public init(allow: Conditions = .init(), deny: Conditions = .init(), options: Options = .init()) {
      self.allow = allow
      self.deny = deny
      self.options = options
    }

    public init(from decoder: any Decoder) throws {
      try KnownKeys.check(decoder, known: ["allow", "deny", "options"])
      let values = try decoder.container(keyedBy: CodingKeys.self)
      allow = try values.decodeIfPresent(Conditions.self, forKey: .allow) ?? .init()
      deny = try values.decodeIfPresent(Conditions.self, forKey: .deny) ?? .init()
      options = try values.decodeIfPresent(Options.self, forKey: .options) ?? .init()
    }
  }

  public init(name: String, version: String = "v7", spec: Spec) {
    kind = "role"
    self.version = version
    metadata = Metadata(name: name)
    self.spec = spec
  }

  public init(from decoder: any Decoder) throws {
    try KnownKeys.check(decoder, known: ["kind", "version", "metadata", "spec"])
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
    public var databaseNames: [String]
    public var databaseUsers: [String]
    /// Sallyport's own: permits replication connections.
    public var databaseReplication: Bool
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

    /// Conditions of Teleport's other protocols: legal, without meaning here.
    private static let foreign = [
      "logins", "node_labels", "node_labels_expression", "kubernetes_groups", "kubernetes_labels", "kubernetes_users",
      "kubernetes_resources", "app_labels", "aws_role_arns", "azure_identities", "gcp_service_accounts",
      "cluster_labels",
      "windows_desktop_labels", "windows_desktop_logins", "request", "review_requests", "impersonate", "join_sessions",
      "require_session_join", "host_groups", "host_sudoers", "db_roles", "db_service_labels", "db_labels_expression",
    ]

    public init(from decoder: any Decoder) throws {
      try KnownKeys.check(decoder, known: CodingKeys.allCases.map(\.rawValue) + Self.foreign)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      databaseLabels = try values.decodeIfPresent([String: Values].self, forKey: .databaseLabels)
      databaseNames = try values.decodeIfPresent([String].self, forKey: .databaseNames) ?? []
      databaseUsers = try values.decodeIfPresent([String].self, forKey: .databaseUsers) ?? []
      databaseReplication = try values.decodeIfPresent(Bool.self, forKey: .databaseReplication) ?? false
      rules = try values.decodeIfPresent([Rule].self, forKey: .rules) ?? []
    }
  }

  /// One value or a list of them, as label selectors allow both.
  public struct Values: Codable, Sendable, Equatable, ExpressibleByArrayLiteral {
    public var all: [String]

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
    public var resources: [String]
    public var verbs: [String]

    public init(resources: [String], verbs: [String]) {
      self.resources = resources
      self.verbs = verbs
    }
  }

  public struct Options: Codable, Sendable, Equatable {
    /// Longest life of a certificate.
    public var maxSessionTTL: GoDuration?
    /// Silence after which a session ends; `never` and 0 mean no limit.
    public var clientIdleTimeout: GoDuration?
    /// Whether sessions end with the certificate.
    public var disconnectExpiredCertificate: Bool?

    enum CodingKeys: String, CodingKey, CaseIterable {
      case maxSessionTTL = "max_session_ttl"
      case clientIdleTimeout = "client_idle_timeout"
      case disconnectExpiredCertificate = "disconnect_expired_cert"
    }

    public init(
      maxSessionTTL: GoDuration? = nil, clientIdleTimeout: GoDuration? = nil, disconnectExpiredCertificate: Bool? = nil
    ) {
      self.maxSessionTTL = maxSessionTTL
      self.clientIdleTimeout = clientIdleTimeout
      self.disconnectExpiredCertificate = disconnectExpiredCertificate
    }

    private static let foreign = [
      "forward_agent", "port_forwarding", "ssh_port_forwarding", "cert_format", "enhanced_recording", "record_session",
      "lock", "request_access", "request_prompt", "permit_x11_forwarding", "max_connections", "max_sessions",
      "max_kubernetes_connections", "require_session_mfa", "create_host_user", "create_host_user_mode",
      "create_db_user",
      "create_db_user_mode", "desktop_clipboard", "desktop_directory_sharing", "pin_source_ip", "cert_extensions",
      "ssh_file_copy", "idp", "device_trust_mode", "create_desktop_user",
    ]

    public init(from decoder: any Decoder) throws {
      try KnownKeys.check(decoder, known: CodingKeys.allCases.map(\.rawValue) + Self.foreign)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      maxSessionTTL = try values.decodeIfPresent(GoDuration.self, forKey: .maxSessionTTL)
      clientIdleTimeout = try values.decodeIfPresent(GoDuration.self, forKey: .clientIdleTimeout)
      if let text = try? values.decodeIfPresent(String.self, forKey: .disconnectExpiredCertificate) {
        disconnectExpiredCertificate = ["yes", "true", "on"].contains(text.lowercased())
      } else {
        disconnectExpiredCertificate = try values.decodeIfPresent(Bool.self, forKey: .disconnectExpiredCertificate)
      }
    }
  }
}
