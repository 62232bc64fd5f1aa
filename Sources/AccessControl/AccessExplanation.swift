/// What one key of a role says to an access.
public struct FieldFinding: Codable, Sendable, Equatable {
  public var field: AccessChecker.Field
  /// The entry that matches: of `db_labels` all that is selected by; `nil` if nothing does.
  public var match: String?
  /// What stands in the role, templates with what they stand for.
  public var entries: [String]
  /// The user's values of the trait of the field's name, if the role leaves the field to it.
  public var traitValues: [String]?

  /// The trait that a role may leave the field to.
  var trait: String? { field == .users || field == .names ? field.rawValue : nil }
}

/// What one role says to an access.
public struct RoleFinding: Codable, Sendable, Equatable {
  public var role: String
  /// Keys of its deny side that match: one of them is enough.
  public var denies: [FieldFinding]
  /// All keys of its allow side that count here: each has to match.
  public var allows: [FieldFinding]

  public var isAllowing: Bool { allows.allSatisfy { $0.match != nil } }

  /// How many keys of the allow side match, up to the first that does not.
  var reach: Int { allows.prefix { $0.match != nil }.count }
}

/// A decision with the reasons of every role.
public struct AccessExplanation: Codable, Sendable {
  public var isAllowed: Bool
  /// What the user is told; `nil` if it is allowed.
  public var reason: String?
  public var roles: [RoleFinding]
}

extension AccessChecker {
  /// Decides as `decide` does, and says for every role what of it matches and what does not.
  public func explain(_ access: DatabaseAccess) -> AccessExplanation {
    let findings = roles.map { role in
      func finding(_ field: Field, _ side: Side) -> FieldFinding {
        FieldFinding(
          field: field, match: match(field, of: role, side, access).map { describe($0, role, side) },
          entries: entries(field, role, side), traitValues: traitValues(field, role, side))
      }
      return RoleFinding(
        role: role.metadata.name,
        denies: Field.deniable.map { finding($0, .deny) }.filter { $0.match != nil },
        allows: Field.wanted(by: access).map { finding($0, .allow) })
    }
    let reason: String? =
      switch decide(access) {
      case .allowed: nil
      case .denied(let reason, _), .replicationDenied(let reason, _): reason
      }
    return AccessExplanation(isAllowed: reason == nil, reason: reason, roles: findings)
  }

  private func describe(_ match: Match, _ role: Role, _ side: Side) -> String {
    switch match {
    case .labels: entries(.labels, role, side).joined(separator: ", ")
    case .entry(let entry): Self.shown(entry, matching.traits)
    case .replication: "true"
    }
  }

  private func entries(_ field: Field, _ role: Role, _ side: Side) -> [String] {
    let conditions = side == .deny ? role.spec.deny : role.spec.allow
    switch field {
    case .labels:
      let selector = side == .deny ? conditions.databaseLabels ?? [:] : role.allowedLabels
      return selector.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.all.joined(separator: "|"))" }
    case .users: return conditions.databaseUsers.map { Self.shown($0, matching.traits) }
    case .names: return conditions.databaseNames.map { Self.shown($0, matching.traits) }
    case .replication: return ["\(conditions.databaseReplication)"]
    }
  }

  private func traitValues(_ field: Field, _ role: Role, _ side: Side) -> [String]? {
    let conditions = side == .deny ? role.spec.deny : role.spec.allow
    let list = field == .users ? conditions.databaseUsers : field == .names ? conditions.databaseNames : []
    guard list.contains(where: { Pattern.traitName($0) == field.rawValue }) else { return nil }
    return matching.traits[field.rawValue] ?? []
  }

  /// A template with the values that the user's traits give it.
  private static func shown(_ entry: String, _ traits: [String: [String]]) -> String {
    guard entry.contains("{{") else { return entry }
    let values = Pattern.listed(entry, traits: traits)
    return "\(entry) = [\(values.joined(separator: ", "))]"
  }
}

extension AccessExplanation {
  /// What would make it allowed, each a step by itself; empty if it is.
  ///
  /// Of the roles that do not allow, those that fail last are told about: they need the least change.
  ///
  /// - Parameters:
  ///   - user: whose roles these are.
  ///   - wanted: what is asked for, by field.
  public func mends(user: String, wanted: [AccessChecker.Field: String]) -> [String] {
    guard !isAllowed else { return [] }
    var mends = roles.flatMap { finding in
      finding.denies.map { denial in
        "role '\(finding.role)': take what matches (\(denial.match ?? "")) out of deny.\(denial.field.rawValue), or take the role from the user"
      }
    }
    guard !roles.contains(where: \.isAllowing) else { return mends }
    guard let furthest = roles.map(\.reach).max() else {
      return mends + ["give the user a role: tctl users update \(user) --set-roles=ROLE"]
    }
    for finding in roles where finding.reach == furthest {
      let steps = finding.allows.filter { $0.match == nil }.map { field in
        field.mend(user: user, wanted: wanted[field.field] ?? "")
      }
      mends.append("role '\(finding.role)': " + steps.joined(separator: " and "))
    }
    return mends
  }
}

extension FieldFinding {
  fileprivate func mend(user: String, wanted: String) -> String {
    let key = "allow.\(field.rawValue)"
    if let trait, let values = traitValues {
      let option = "--set-\(trait.replacing("_", with: "-"))=\((values + [wanted]).joined(separator: ","))"
      return "\(key) goes by the user's traits: tctl users update \(user) \(option)"
    }
    return switch field {
    case .labels: "make \(key) match the database's labels (\(wanted))"
    case .users, .names: "add '\(wanted)' to \(key)"
    case .replication: "set \(key): true"
    }
  }
}
