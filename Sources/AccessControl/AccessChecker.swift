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
  private let roles: [Role]
  private let traits: [String: [String]]

  /// Life of a certificate where no role says less, in seconds.
  public static let defaultSessionTTL = 30 * 3600

  /// - Parameters:
  ///   - roles: all roles the user has; order does not matter.
  ///   - traits: values for `{{internal.NAME}}` and `{{external.NAME}}`.
  public init(roles: [Role], traits: [String: [String]]) {
    self.roles = roles
    self.traits = traits
  }

  /// Whether the session may start.
  public func decide(_ access: DatabaseAccess) -> Decision {
    let user = access.databaseUsers.same.first ?? ""
    for role in roles {
      let deny = role.spec.deny
      let name = role.metadata.name
      if matches(deny.databaseLabels ?? [:], access.labels, ifUnreadable: true) {
        return .denied(reason: "role '\(name)' denies this database", mend: "ask for a change of its deny.db_labels")
      }
      if matches(deny.databaseNames, [access.databaseName], ifUnreadable: true) {
        return .denied(
          reason: "role '\(name)' denies database name '\(access.databaseName)'",
          mend: "ask for a change of its deny.db_names")
      }
      let names = access.databaseUsers.same + access.databaseUsers.alsoDenied
      if matches(deny.databaseUsers, names, ifUnreadable: true) {
        return .denied(
          reason: "role '\(name)' denies database user '\(user)'", mend: "ask for a change of its deny.db_users")
      }
    }
    let byLabels = roles.filter { matches(allowedLabels($0), access.labels) }
    guard !byLabels.isEmpty else {
      return .denied(reason: "no role of yours allows this database", mend: "a role whose db_labels match it is needed")
    }
    let byUser = byLabels.filter { matches($0.spec.allow.databaseUsers, access.databaseUsers.same) }
    guard !byUser.isEmpty else {
      return .denied(
        reason: "database user '\(user)' is not among the allowed ones",
        mend: "add it to db_users of a role that allows this database")
    }
    let matching = byUser.filter { matches($0.spec.allow.databaseNames, [access.databaseName]) }
    guard !matching.isEmpty else {
      return .denied(
        reason: "database name '\(access.databaseName)' is not among the allowed ones",
        mend: "add it to db_names of the role that allows this database and user")
    }
    guard !access.wantsReplication || matching.contains(where: { $0.spec.allow.databaseReplication }) else {
      return .replicationDenied(
        reason: "replication connections are not allowed", mend: "set db_replication: true in the role's allow section")
    }
    return .allowed
  }

  /// Whether a role that allows the session names its user letter by letter, itself or by a trait, rather than by a pattern.
  public func spellsOut(_ access: DatabaseAccess) -> Bool {
    guard let user = access.databaseUsers.same.first else { return false }
    return roles.contains { role in
      matches(allowedLabels(role), access.labels) && matches(role.spec.allow.databaseNames, [access.databaseName])
        && role.spec.allow.databaseUsers.flatMap { Pattern.listed($0, traits: traits) }.contains(user)
    }
  }

  /// Whether a database with these labels is to be listed.
  public func canSee(labels: [String: String]) -> Bool {
    !roles.contains { matches($0.spec.deny.databaseLabels ?? [:], labels, ifUnreadable: true) }
      && roles.contains { matches(allowedLabels($0), labels) }
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

  /// Whether any role ends sessions with their certificate.
  public var disconnectsExpiredCertificate: Bool {
    roles.contains { $0.spec.options.disconnectExpiredCertificate == true }
  }

  private func listed(_ labels: [String: String], _ list: (Role.Conditions) -> [String]) -> [String] {
    let entries = roles.filter { matches(allowedLabels($0), labels) }.flatMap { list($0.spec.allow) }
    return Set(entries.flatMap { Pattern.listed($0, traits: traits) }).sorted()
  }

  /// Roles of v3 that do not mention labels mean all databases, later ones none (docs/decisions/010).
  private func allowedLabels(_ role: Role) -> [String: Role.Values] {
    role.spec.allow.databaseLabels ?? (role.version == "v3" ? ["*": ["*"]] : [:])
  }

  private func matches(
    _ selector: [String: Role.Values], _ labels: [String: String], ifUnreadable: Bool = false
  ) -> Bool {
    guard !selector.isEmpty else { return false }
    return selector.allSatisfy { key, values in
      if key == "*" { return values.all == ["*"] }
      guard let actual = labels[key] else { return false }
      return matches(values.all, [actual], ifUnreadable: ifUnreadable)
    }
  }

  /// Roles are validated before they are stored. Should an entry be no pattern after all, a deny takes it to match
  /// (`ifUnreadable`), an allow not.
  private func matches(_ patterns: [String], _ subjects: [String], ifUnreadable: Bool = false) -> Bool {
    patterns.contains { text in
      guard let pattern = try? Pattern(text) else { return ifUnreadable }
      return subjects.contains { pattern.matches($0, traits: traits) }
    }
  }
}
