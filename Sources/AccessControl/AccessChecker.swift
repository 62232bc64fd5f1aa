/// A database session that someone asks for.
public struct DatabaseAccess: Sendable {
  /// Labels of the database service.
  public let labels: [String: String]
  /// Name of the database within it.
  public let databaseName: String
  /// Spellings of the database user.
  public let databaseUsers: DatabaseUserSpellings
  /// Whether a replication connection is asked for.
  public let wantsReplication: Bool

  public init(
    labels: [String: String], databaseName: String, databaseUsers: DatabaseUserSpellings, wantsReplication: Bool = false
  ) {
    self.labels = labels
    self.databaseName = databaseName
    self.databaseUsers = databaseUsers
    self.wantsReplication = wantsReplication
  }
}

/// How one database user may be written in roles.
public struct DatabaseUserSpellings: Sendable {
  /// They mean the same, the first being what was asked for: for Redshift Serverless an IAM role's name and its ARN.
  public let same: [String]
  /// What a deny may call it besides: the name alone of a role with a path. Too wide to allow by, since another role may
  /// have been meant; right to deny by, since the database knows the user by this name.
  public let alsoDenied: [String]

  public init(_ same: [String], alsoDenied: [String] = []) {
    self.same = same
    self.alsoDenied = alsoDenied
  }
}

/// The answer, with a sentence for the user and what would change it.
public enum Decision: Sendable, Equatable {
  case allowed
  case denied(reason: String, mend: String)
  /// All is allowed but that it is a replication connection.
  case replicationDenied(reason: String, mend: String)
}

/// Evaluates a user's roles. Immutable; made anew for each request, off the reactor.
///
/// Any deny that matches wins, over all roles. To be allowed, one single role must match labels, name and user together.
public struct AccessChecker: Sendable {
  let roles: [Role]
  let matching: Matching

  /// Life of a certificate where no role says less, in seconds.
  public static let defaultSessionTTL = 30 * 3600

  /// - Parameters:
  ///   - roles: all roles the user has; order does not matter.
  ///   - traits: values for `{{internal.NAME}}` and `{{external.NAME}}`.
  public init(roles: [Role], traits: [String: [String]]) {
    self.roles = roles
    matching = Matching(traits: traits)
  }

  /// Whether the session may start.
  public func decide(_ access: DatabaseAccess) -> Decision {
    for role in roles {
      for field in Field.deniable where match(field, of: role, .deny, access) != nil {
        return .denied(by: role.metadata.name, field, access)
      }
    }
    let wanted = Field.wanted(by: access)
    var furthest = 0
    for role in roles {
      let reach = wanted.prefix { match($0, of: role, .allow, access) != nil }.count
      guard reach < wanted.count else { return .allowed }
      furthest = max(furthest, reach)
    }
    return .notAllowed(wanted[furthest], access)
  }

  /// Whether a role that allows the session names its user letter by letter, itself or by a trait, rather than by a pattern.
  public func spellsOut(_ access: DatabaseAccess) -> Bool {
    guard let user = access.databaseUsers.same.first else { return false }
    return roles.contains { role in
      match(.labels, of: role, .allow, access) != nil && match(.names, of: role, .allow, access) != nil
        && role.spec.allow.databaseUsers.flatMap { Pattern.listed($0, traits: matching.traits) }.contains(user)
    }
  }

  /// Whether a database with these labels is to be listed.
  public func canSee(labels: [String: String]) -> Bool {
    !roles.contains { matching.selects($0.spec.deny.databaseLabels ?? [:], labels, ifUnreadable: true) }
      && roles.contains { matching.selects($0.allowedLabels, labels) }
  }

  /// Entries of `db_users` that apply to such a database, for listings.
  public func allowedUsers(labels: [String: String]) -> [String] { listed(labels) { $0.databaseUsers } }

  /// Entries of `db_names` that apply to such a database, for listings.
  public func allowedNames(labels: [String: String]) -> [String] { listed(labels) { $0.databaseNames } }

  /// Whether the roles' rules allow `verb` on a kind of resource.
  public func allows(_ verb: String, on resource: String) -> Bool {
    func hits(_ conditions: Role.Conditions) -> Bool {
      conditions.rules.contains { rule in
        (rule.resources.contains("*") || rule.resources.contains(resource))
          && (rule.verbs.contains("*") || rule.verbs.contains(verb))
      }
    }
    return !roles.contains { hits($0.spec.deny) } && roles.contains { hits($0.spec.allow) }
  }

  /// The shortest certificate life any role demands, in seconds.
  public var maxSessionTTL: Int {
    roles.compactMap { $0.spec.options.maxSessionTTL?.seconds }.filter { $0 > 0 }.min() ?? Self.defaultSessionTTL
  }

  /// The shortest idle time any role demands, in seconds.
  public var clientIdleTimeout: Int? {
    roles.compactMap { $0.spec.options.clientIdleTimeout?.seconds }.filter { $0 > 0 }.min()
  }

  /// The smallest number of sessions at once that any role demands; `nil`: no role bounds it.
  public var maxConnections: Int? {
    roles.compactMap(\.spec.options.maxConnections).filter { $0 > 0 }.min()
  }

  /// Whether any role ends sessions with their certificate.
  public var disconnectsExpiredCertificate: Bool {
    roles.contains { $0.spec.options.disconnectExpiredCertificate == true }
  }

  private func listed(_ labels: [String: String], _ list: (Role.Conditions) -> [String]) -> [String] {
    let entries = roles.filter { matching.selects($0.allowedLabels, labels) }.flatMap { list($0.spec.allow) }
    return Set(entries.flatMap { Pattern.listed($0, traits: matching.traits) }).sorted()
  }

  // MARK: One role, one field

  enum Side { case allow, deny }

  /// What of a role's field meets the access.
  enum Match: Equatable {
    case labels
    case entry(String)
    case replication
  }

  /// The one place where a role's statement meets what is asked for: `decide` and `explain` both go by it.
  func match(_ field: Field, of role: Role, _ side: Side, _ access: DatabaseAccess) -> Match? {
    let isDeny = side == .deny
    let conditions = isDeny ? role.spec.deny : role.spec.allow
    switch field {
    case .labels:
      let selector = isDeny ? conditions.databaseLabels ?? [:] : role.allowedLabels
      return matching.selects(selector, access.labels, ifUnreadable: isDeny) ? .labels : nil
    case .users:
      let spellings = access.databaseUsers
      let users = isDeny ? spellings.same + spellings.alsoDenied : spellings.same
      return matching.first(of: conditions.databaseUsers, matching: users, ifUnreadable: isDeny).map(Match.entry)
    case .names:
      return matching.first(of: conditions.databaseNames, matching: [access.databaseName], ifUnreadable: isDeny)
        .map(Match.entry)
    case .replication: return conditions.databaseReplication ? .replication : nil
    }
  }
}

extension Role {
  /// Roles of v3 that do not mention labels mean all databases, later ones none (docs/decisions/010).
  var allowedLabels: [String: Values] {
    spec.allow.databaseLabels ?? (version == "v3" ? ["*": ["*"]] : [:])
  }
}

extension AccessChecker {
  /// The keys of a role that decide about a session, in the order in which they are looked at.
  public enum Field: String, Codable, Sendable, CaseIterable {
    case labels = "db_labels"
    case users = "db_users"
    case names = "db_names"
    case replication = "db_replication"

    static let deniable: [Field] = [.labels, .users, .names]

    static func wanted(by access: DatabaseAccess) -> [Field] { access.wantsReplication ? allCases : deniable }
  }
}

extension Decision {
  fileprivate static func denied(by role: String, _ field: AccessChecker.Field, _ access: DatabaseAccess) -> Decision {
    let what =
      switch field {
      case .users: "database user '\(access.databaseUsers.same.first ?? "")'"
      case .names: "database name '\(access.databaseName)'"
      case .labels, .replication: "this database"
      }
    return .denied(reason: "role '\(role)' denies \(what)", mend: "ask for a change of its deny.\(field.rawValue)")
  }

  /// - Parameter field: what no role allows of those that allow all before it.
  fileprivate static func notAllowed(_ field: AccessChecker.Field, _ access: DatabaseAccess) -> Decision {
    switch field {
    case .labels:
      .denied(reason: "no role of yours allows this database", mend: "a role whose db_labels match it is needed")
    case .users:
      .denied(
        reason: "database user '\(access.databaseUsers.same.first ?? "")' is not among the allowed ones",
        mend: "add it to db_users of a role that allows this database")
    case .names:
      .denied(
        reason: "database name '\(access.databaseName)' is not among the allowed ones",
        mend: "add it to db_names of the role that allows this database and user")
    case .replication:
      .replicationDenied(
        reason: "replication connections are not allowed", mend: "set db_replication: true in the role's allow section")
    }
  }
}
