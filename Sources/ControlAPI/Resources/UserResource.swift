import AccessControl

/// A user of the cluster (`kind: user`, `version: v2`). Passwords and second factors are no part of it.
public struct UserResource: ClusterResource {
  public static let kind = "user"

  public struct Spec: Codable, Sendable {
    /// Names of the user's roles.
    public var roles: [String]
    /// Values for templates in roles.
    public var traits: [String: [String]]

    public init(roles: [String], traits: [String: [String]]) {
      self.roles = roles
      self.traits = traits
    }

    public init(from decoder: any Decoder) throws {
      // Who made the user and whether he is locked is Teleport's record, not a wish; identities of other connectors and
      // expiry would shut a user out that nothing here shuts out.
      try RoleKeys(
        enforced: ["roles", "traits"], foreign: ["created_by", "status", "trusted_device_ids", "local_auth"],
        unenforced: [
          "expires": ["0001-01-01T00:00:00Z"], "oidc_identities": [], "saml_identities": [], "github_identities": [],
        ]
      ).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      roles = try values.decodeIfPresent([String].self, forKey: .roles) ?? []
      // Teleport writes a trait without values as null.
      let traits = try values.decodeIfPresent([String: [String]?].self, forKey: .traits) ?? [:]
      self.traits = traits.mapValues { $0 ?? [] }
    }
  }

  public var kind: String
  public var version: String
  public var metadata: ResourceMetadata
  public var spec: Spec

  public init(name: String, spec: Spec) {
    (kind, version) = (Self.kind, "v2")
    metadata = ResourceMetadata(name: name)
    self.spec = spec
  }

  public init(from decoder: any Decoder) throws {
    try RoleKeys.resource.check(decoder)
    let values = try decoder.container(keyedBy: CodingKeys.self)
    kind = try values.decode(String.self, forKey: .kind)
    version = try values.decodeIfPresent(String.self, forKey: .version) ?? "v2"
    metadata = try values.decode(ResourceMetadata.self, forKey: .metadata)
    spec = try values.decodeIfPresent(Spec.self, forKey: .spec) ?? Spec(roles: [], traits: [:])
    try validate()
  }

  private static let maximumEntries = 1000

  public func validate() throws {
    try checkHeader(kind, version, allowed: "v2")
    guard Role.isValidName(name) else {
      throw RoleError(
        "user name '\(name)' is not valid; use letters, digits and . _ @ + -", at: ["metadata", "name"])
    }
    guard metadata.labels?.isEmpty ?? true, metadata.description?.isEmpty ?? true else {
      throw RoleError("users have neither labels nor a description here; use traits", at: ["metadata"])
    }
    let size = spec.roles.count + spec.traits.values.reduce(spec.traits.count) { $0 + $1.count }
    guard size <= Self.maximumEntries else {
      throw RoleError("a user has at most \(Self.maximumEntries) roles and traits", at: ["spec"])
    }
  }
}

extension ClusterResource {
  /// The check of `kind` and `version` that all resources need.
  func checkHeader(_ kind: String, _ version: String, allowed: String) throws {
    guard kind == Self.kind else { throw RoleError("kind is '\(kind)', not '\(Self.kind)'", at: ["kind"]) }
    guard version == allowed else {
      throw RoleError("version '\(version)' of a \(Self.kind) is not known; use \(allowed)", at: ["version"])
    }
  }
}
