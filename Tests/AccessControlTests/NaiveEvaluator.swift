import Foundation

@testable import AccessControl

/// The rules again, as a plain reading of the documentation and in another style: every pattern that the generator knows
/// comes with a function that says in plain words what it means.
enum Naive {
  /// What a user of some roles asks for, beside the session itself.
  struct World {
    let roles: [Role]
    let traits: [String: [String]]
  }

  /// Looks like a pattern and is none.
  static let unreadable = ["^($", "^a**$", "{{internal.}}", "{{x}}"]

  /// Expressions with what they mean.
  static let expressions: [String: @Sendable (String) -> Bool] = [
    "^dev|prod$": { ["dev", "prod"].contains($0) },
    "^.*$": { _ in true },
    "^.+$": { !$0.isEmpty },
    "^[a-d].*$": { text in ["a", "b", "c", "d"].contains(String(text.prefix(1))) },
    "^(al|bo)[a-z]+$": { text in
      ["al", "bo"].contains(String(text.prefix(2))) && text.count > 2
        && text.dropFirst(2).allSatisfy { $0 >= "a" && $0 <= "z" }
    },
    "^arn:.*role/[^/]*$": { text in
      let parts = text.split(separator: "/", omittingEmptySubsequences: false)
      return text.hasPrefix("arn:") && parts.count > 1 && parts[parts.count - 2].hasSuffix("role")
    },
    "^\\w{3}$": { $0.count == 3 && $0.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" } },
  ]

  /// Whether `pattern` means `text`; `nil` for what is no pattern.
  static func matches(_ pattern: String, _ text: String, _ world: World) -> Bool? {
    if unreadable.contains(pattern) { return nil }
    if let meaning = expressions[pattern] { return meaning(text) }
    if pattern.hasPrefix("{{") {
      let name = pattern.dropFirst("{{internal.".count).dropLast(2)
      var found = false
      for value in world.traits[String(name)] ?? [] where isGlob(value, text) { found = true }
      return found
    }
    return isGlob(pattern, text)
  }

  /// The generator puts at most one star into what it makes.
  private static func isGlob(_ pattern: String, _ text: String) -> Bool {
    let parts = pattern.split(separator: "*", omittingEmptySubsequences: false)
    if parts.count == 1 { return pattern == text }
    return text.count >= pattern.count - 1 && text.hasPrefix(parts[0]) && text.hasSuffix(parts[1])
  }

  /// Whether any of `patterns` means any of `texts`. What cannot be read counts as `unreadable`.
  private static func anyMatches(_ patterns: [String], _ texts: [String], unreadable: Bool, _ world: World) -> Bool {
    for pattern in patterns {
      for text in texts where matches(pattern, text, world) ?? unreadable { return true }
    }
    return false
  }

  static func selects(
    _ selector: [String: Role.Values]?, _ database: [String: String], unreadable: Bool, _ world: World
  ) -> Bool {
    guard let selector, selector.count > 0 else { return false }
    var unmet = 0
    for (key, values) in selector {
      if key == "*" {
        if !(values.all.count == 1 && values.all[0] == "*") { unmet += 1 }
      } else if let value = database[key] {
        if !anyMatches(values.all, [value], unreadable: unreadable, world) { unmet += 1 }
      } else {
        unmet += 1
      }
    }
    return unmet == 0
  }

  private static func allowedSelector(_ role: Role) -> [String: Role.Values]? {
    if let labels = role.spec.allow.databaseLabels { return labels }
    return role.version == "v3" ? ["*": ["*"]] : nil
  }

  enum Outcome { case allowed, denied, replicationDenied }

  static func outcome(_ world: World, _ access: DatabaseAccess) -> Outcome {
    for role in world.roles {
      let deny = role.spec.deny
      if selects(deny.databaseLabels, access.labels, unreadable: true, world) { return .denied }
      if anyMatches(deny.databaseNames, [access.databaseName], unreadable: true, world) { return .denied }
      if anyMatches(deny.databaseUsers, access.databaseUsers.same, unreadable: true, world) { return .denied }
      if anyMatches(deny.databaseUsers, access.databaseUsers.alsoDenied, unreadable: true, world) { return .denied }
    }
    let fitting = world.roles.filter { role in
      selects(allowedSelector(role), access.labels, unreadable: false, world)
        && anyMatches(role.spec.allow.databaseNames, [access.databaseName], unreadable: false, world)
        && anyMatches(role.spec.allow.databaseUsers, access.databaseUsers.same, unreadable: false, world)
    }
    if fitting.isEmpty { return .denied }
    if access.wantsReplication, !fitting.contains(where: { $0.spec.allow.databaseReplication }) {
      return .replicationDenied
    }
    return .allowed
  }

  static func canSee(_ world: World, _ labels: [String: String]) -> Bool {
    let denied = world.roles.filter { selects($0.spec.deny.databaseLabels, labels, unreadable: true, world) }
    let allowed = world.roles.filter { selects(allowedSelector($0), labels, unreadable: false, world) }
    return denied.isEmpty && !allowed.isEmpty
  }

  /// Entries for a listing: of templates what the user's traits have, of others themselves.
  static func listed(
    _ world: World, _ labels: [String: String], _ list: (Role.Conditions) -> [String]
  ) -> [String] {
    var entries: Set<String> = []
    for role in world.roles where selects(allowedSelector(role), labels, unreadable: false, world) {
      for entry in list(role.spec.allow) {
        if entry.hasPrefix("{{"), !unreadable.contains(entry) {
          entries.formUnion(world.traits[String(entry.dropFirst("{{internal.".count).dropLast(2))] ?? [])
        } else {
          entries.insert(entry)
        }
      }
    }
    return entries.sorted()
  }

  static func allows(_ world: World, _ verb: String, on resource: String) -> Bool {
    var isAllowed = false
    for role in world.roles {
      for rule in role.spec.deny.rules where hits(rule, verb, resource) { return false }
      for rule in role.spec.allow.rules where hits(rule, verb, resource) { isAllowed = true }
    }
    return isAllowed
  }

  private static func hits(_ rule: Role.Rule, _ verb: String, _ resource: String) -> Bool {
    !Set(rule.resources).isDisjoint(with: ["*", resource]) && !Set(rule.verbs).isDisjoint(with: ["*", verb])
  }

  /// Of all limits that are above 0 the least.
  static func least(_ limits: [GoDuration?]) -> Int? {
    var least: Int?
    for limit in limits {
      guard let seconds = limit?.seconds, seconds > 0 else { continue }
      if let known = least, known < seconds { continue }
      least = seconds
    }
    return least
  }

  /// - Parameter isOver: as the generator knows it.
  static func hits(
    _ target: Lock.Target, isOver: Bool, _ user: String, _ roles: [String], _ database: String?, _ session: String?,
    _ server: String?
  ) -> Bool {
    if isOver { return false }
    if let wanted = target.user, wanted != user { return false }
    if let wanted = target.role, !roles.contains(wanted) { return false }
    if let wanted = target.db, wanted != database { return false }
    if let wanted = target.session, wanted != session { return false }
    if let wanted = target.serverID, wanted != server { return false }
    return true
  }
}
