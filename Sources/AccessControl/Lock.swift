import Foundation

/// A lock: shuts its target out, and ends its running sessions, whatever roles allow.
///
/// The resource has Teleport's shape (`kind: lock`, `version: v2`). `spec.target.db` is Sallyport's own; targets that
/// could not be enforced here, such as a device, are refused.
public struct Lock: ClusterResource, Equatable {
  public static let kind = "lock"

  public typealias Metadata = ResourceMetadata

  /// Whom it shuts out: where several fields are set, only what fits them all.
  public struct Target: Codable, Sendable, Equatable {
    /// Name of a user.
    public var user: String?
    /// Name of a role: all who hold it.
    public var role: String?
    /// Name of a database in the cluster.
    public var db: String?

    enum CodingKeys: String, CodingKey, CaseIterable { case user, role, db }

    public init(user: String? = nil, role: String? = nil, db: String? = nil) {
      (self.user, self.role, self.db) = (user, role, db)
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys(enforced: CodingKeys.allCases.map(\.rawValue)).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      user = try values.decodeIfPresent(String.self, forKey: .user)
      role = try values.decodeIfPresent(String.self, forKey: .role)
      db = try values.decodeIfPresent(String.self, forKey: .db)
    }

    /// The fields that are set, in words.
    public var fields: [String: String] {
      [("user", user), ("role", role), ("db", db)].reduce(into: [:]) { $0[$1.0] = $1.1 }
    }
  }

  /// Whom, why and until when.
  public struct Spec: Codable, Sendable, Equatable {
    public var target: Target
    /// Shown to who is shut out.
    public var message: String?
    /// When it ends by itself, as in `2025-01-31T12:00:00Z`; `nil`: never.
    public var expires: String?

    enum CodingKeys: String, CodingKey { case target, message, expires }

    public init(target: Target, message: String? = nil, expires: Date? = nil) {
      self.target = target
      self.message = message
      self.expires = expires?.formatted(.iso8601)
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys(enforced: ["target", "message", "expires"], foreign: ["created_at", "created_by"]).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      target = try values.decode(Target.self, forKey: .target)
      message = try values.decodeIfPresent(String.self, forKey: .message)
      expires = try values.decodeIfPresent(String.self, forKey: .expires)
    }
  }

  public var kind: String
  public var version: String
  public var metadata: Metadata
  public var spec: Spec

  /// A lock as code makes it; not validated.
  public init(name: String, spec: Spec) {
    (kind, version) = (Self.kind, "v2")
    metadata = Metadata(name: name)
    self.spec = spec
  }

  public init(from decoder: any Decoder) throws {
    try RoleKeys.resource.check(decoder)
    let values = try decoder.container(keyedBy: CodingKeys.self)
    kind = try values.decode(String.self, forKey: .kind)
    version = try values.decodeIfPresent(String.self, forKey: .version) ?? "v2"
    metadata = try values.decode(Metadata.self, forKey: .metadata)
    spec = try values.decode(Spec.self, forKey: .spec)
    try validate()
  }

  private static let maximumMessage = 1024

  /// - Throws: `RoleError` that says what is wrong.
  public func validate() throws {
    guard kind == Self.kind else { throw RoleError("kind is '\(kind)', not 'lock'") }
    guard version == "v2" else { throw RoleError("version '\(version)' of a lock is not known; use v2") }
    guard Role.isValidName(metadata.name) else {
      throw RoleError("lock name '\(metadata.name)' is not valid; use letters, digits and . _ @ + - (no '..')")
    }
    let targets = spec.target.fields
    guard !targets.isEmpty else { throw RoleError("a lock needs a target: user, role or db", at: ["spec"]) }
    if let wrong = targets.values.first(where: { !Role.isValidName($0) }) {
      throw RoleError("lock target '\(wrong)' is not a valid name", at: ["spec", "target"])
    }
    guard (spec.message ?? "").utf8.count <= Self.maximumMessage else {
      throw RoleError("the message of a lock has at most \(Self.maximumMessage) bytes")
    }
    guard spec.expires == nil || expires != nil else {
      throw RoleError(
        "expires '\(spec.expires ?? "")' is not a time; write 2025-01-31T12:00:00Z",
        at: ["spec", "expires"])
    }
  }

  /// When it ends by itself; `nil`: never.
  public var expires: Date? { spec.expires.flatMap { try? Date($0, strategy: .iso8601) } }

  /// Whether it is over at `time`.
  public func isOver(at time: Date = Date()) -> Bool { expires.map { $0 <= time } ?? false }

  /// Whether it shuts this user out, of `database` or, where that is `nil`, of the cluster.
  public func hits(user: String, roles: [String], database: String?) -> Bool {
    guard !isOver() else { return false }
    let target = spec.target
    return (target.user == nil || target.user == user)
      && (target.role.map { roles.contains($0) } ?? true) && (target.db == nil || target.db == database)
  }

  /// What one who is shut out is told.
  public var notice: String {
    "locked out by lock '\(metadata.name)'" + (spec.message.map { $0.isEmpty ? "" : ": \($0)" } ?? "")
  }
}
