import TestSupport
import Testing

@testable import AccessControl

/// The rules again, as a plain reading of the documentation and in another style: sets of all that is possible.
private enum Naive {
  static let labels = ["env": ["dev", "prod"], "team": ["a", "b"]]

  static func matches(_ pattern: String, _ text: String) -> Bool {
    if pattern == "*" { return true }
    if pattern.hasSuffix("*") { return text.starts(with: pattern.dropLast()) }
    return pattern == text
  }

  static func selects(_ selector: [String: Role.Values]?, _ database: [String: String]) -> Bool {
    guard let selector, selector.count > 0 else { return false }
    for (key, values) in selector {
      if key == "*" { continue }
      var found = false
      for value in values.all where database[key] != nil && matches(value, database[key] ?? "") { found = true }
      if !found { return false }
    }
    return true
  }

  static func allowed(_ roles: [Role], _ database: [String: String], _ name: String, _ users: [String]) -> Bool {
    for role in roles {
      let deny = role.spec.deny
      if selects(deny.databaseLabels, database) { return false }
      for pattern in deny.databaseNames where matches(pattern, name) { return false }
      for pattern in deny.databaseUsers { for user in users where matches(pattern, user) { return false } }
    }
    for role in roles {
      var selector = role.spec.allow.databaseLabels
      if selector == nil, role.version == "v3" { selector = ["*": ["*"]] }
      let byLabel = selects(selector, database)
      let byName = role.spec.allow.databaseNames.filter { matches($0, name) }.count > 0
      let byUser =
        role.spec.allow.databaseUsers.filter { pattern in users.filter { matches(pattern, $0) }.count > 0 }.count > 0
      if byLabel && byName && byUser { return true }
    }
    return false
  }
}

/// Roles and accesses drawn at random, such that about a quarter of them go together.
struct RandomAccess {
  private var random: SeededGenerator

  init(seed: UInt64) { random = SeededGenerator(seed: seed) }

  private mutating func pick<Item>(_ items: [Item], _ atMost: Int) -> [Item] {
    (0..<Int.random(in: 0...atMost, using: &random)).map { _ in items[Int.random(in: 0..<items.count, using: &random)] }
  }

  private mutating func selector() -> [String: Role.Values]? {
    switch Int.random(in: 0..<6, using: &random) {
    case 0: return nil
    case 1: return [:]
    case 2: return ["*": ["*"]]
    default:
      var selector: [String: Role.Values] = [:]
      for key in pick(["env", "team", "zone"], 2) {
        selector[key] = Role.Values(pick(["dev", "prod", "a", "b", "d*", "*"], 2) + ["dev"])
      }
      return selector
    }
  }

  private mutating func role(_ index: Int) -> Role {
    let (names, users) = (["dev", "reports", "de*", "*"], ["alice", "bob", "arn:x:alice", "al*", "*"])
    let isDenying = Int.random(in: 0..<4, using: &random) == 0
    let version = pick(["v3", "v4", "v5", "v6", "v7"], 1).first ?? "v5"
    let allow = Role.Conditions(
      databaseLabels: selector(), databaseNames: pick(names, 2), databaseUsers: pick(users, 2),
      databaseReplication: Bool.random(using: &random))
    let labels = isDenying && Bool.random(using: &random) ? selector() : nil
    let deny =
      isDenying
      ? Role.Conditions(
        databaseLabels: labels, databaseNames: pick(["reports", "x"], 1), databaseUsers: pick(["bob", "x*"], 1))
      : .init()
    return Role(name: "r\(index)", version: version, spec: .init(allow: allow, deny: deny))
  }

  mutating func roles() -> [Role] { (0..<Int.random(in: 0...4, using: &random)).map { role($0) } }

  mutating func access(wantsReplication: Bool = false) -> DatabaseAccess {
    var labels: [String: String] = [:]
    for (key, values) in Naive.labels.sorted(by: { $0.key < $1.key }) { labels[key] = pick(values, 1).first }
    let users = [["alice", "arn:x:alice"], ["bob"], ["carol"]]
    return DatabaseAccess(
      labels: labels, databaseName: ["dev", "reports", "other"][Int.random(in: 0..<3, using: &random)],
      databaseUsers: .init(users[Int.random(in: 0..<3, using: &random)]), wantsReplication: wantsReplication)
  }
}

struct NaiveEvaluatorTests {
  @Test func agreesOnHundredThousandRandomRoleSets() {
    var random = RandomAccess(seed: 42)
    var allowedCount = 0
    for _ in 0..<100_000 {
      let (roles, access) = (random.roles(), random.access())
      let decision = AccessChecker(roles: roles, traits: [:]).decide(access)
      let expected = Naive.allowed(roles, access.labels, access.databaseName, access.databaseUsers.same)
      guard (decision == .allowed) == expected else {
        return #expect((decision == .allowed) == expected, "\(roles) \(access)")
      }
      allowedCount += expected ? 1 : 0
    }
    #expect(allowedCount > 5_000)
    #expect(allowedCount < 95_000)
  }
}
