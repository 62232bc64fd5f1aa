import Foundation

/// A lock: shuts its target out, and ends its running sessions, whatever roles allow.
///
/// The resource has Teleport's shape (`kind: lock`, `version: v2`). `db` and `session` of `spec.target` are Sallyport's
/// own; targets that could not be enforced here, such as a device, are refused.
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
    /// ID of a running session.
    public var session: String?
    /// ID of a host: itself, if nothing else is set, and what goes on there.
    public var serverID: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
      case user, role, db, session
      case serverID = "server_id"
    }

    public init(
      user: String? = nil, role: String? = nil, db: String? = nil, session: String? = nil, serverID: String? = nil
    ) {
      (self.user, self.role, self.db, self.session, self.serverID) = (user, role, db, session, serverID)
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys(enforced: CodingKeys.allCases.map(\.rawValue)).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      user = try values.decodeIfPresent(String.self, forKey: .user)
      role = try values.decodeIfPresent(String.self, forKey: .role)
      db = try values.decodeIfPresent(String.self, forKey: .db)
      session = try values.decodeIfPresent(String.self, forKey: .session)
      serverID = try values.decodeIfPresent(String.self, forKey: .serverID)
    }

    /// The fields that are set, in words.
    public var fields: [String: String] {
      [("user", user), ("role", role), ("db", db), ("session", session), ("server_id", serverID)].reduce(into: [:]) {
        $0[$1.0] = $1.1
      }
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
    guard !targets.isEmpty else {
      throw RoleError("a lock needs a target: user, role, db, session or server_id", at: ["spec"])
    }
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

  /// Whether it shuts this user out, of `database` at the host `server` or, where those are `nil`, of the cluster.
  ///
  /// - Parameter session: ID of the running session that is in question, if one is.
  public func hits(
    user: String, roles: [String], database: String?, session: String? = nil, server: String? = nil
  ) -> Bool {
    guard !isOver() else { return false }
    let target = spec.target
    return (target.user == nil || target.user == user)
      && (target.role.map { roles.contains($0) } ?? true) && (target.db == nil || target.db == database)
      && (target.session == nil || target.session == session)
      && (target.serverID == nil || target.serverID == server)
  }

  /// Whether it shuts a host out as a whole.
  public func hits(host: String) -> Bool {
    let target = spec.target
    return !isOver() && target.serverID == host && target.user == nil && target.role == nil && target.db == nil
      && target.session == nil
  }

  /// What one who is shut out is told.
  public var notice: String {
    "locked out by lock '\(metadata.name)'" + (spec.message.map { $0.isEmpty ? "" : ": \($0)" } ?? "")
  }
}
