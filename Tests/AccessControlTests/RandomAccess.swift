import Foundation
import TestSupport

@testable import AccessControl

/// Roles, users, locks and what is asked for, drawn at random such that a good part of them go together.
struct RandomAccess {
  private var random: SeededGenerator

  init(seed: UInt64) { random = SeededGenerator(seed: seed) }

  private static let arn = "arn:aws:iam::123456789012:role/alice"
  private static let arnWithPath = "arn:aws:iam::123456789012:role/p/alice"
  /// What roles list, but for expressions and templates.
  private static let names = ["dev", "reports", "de*", "*", "*s", "r*s", ""]
  private static let users = ["alice", "bob", arn, arnWithPath, "al*", "*", "arn:*:role/alice", "a*a"]
  private static let templates = [
    "{{internal.db_users}}", "{{external.team}}", "{{internal.nothing}}", "{{internal.db_names}}",
  ]

  mutating func isOne(in count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }

  mutating func one<Item>(of items: [Item]) -> Item { items[Int.random(in: 0..<items.count, using: &random)] }

  private mutating func pick<Item>(_ items: [Item], _ atMost: Int) -> [Item] {
    (0..<Int.random(in: 0...atMost, using: &random)).map { _ in one(of: items) }
  }

  private mutating func patterns(_ plain: [String], _ atMost: Int) -> [String] {
    let expressions = Naive.expressions.keys.sorted() + Naive.unreadable
    return (0..<Int.random(in: 0...atMost, using: &random)).map { _ in
      switch Int.random(in: 0..<10, using: &random) {
      case 0: one(of: expressions)
      case 1: one(of: Self.templates)
      default: one(of: plain)
      }
    }
  }

  private mutating func selector() -> [String: Role.Values]? {
    switch Int.random(in: 0..<8, using: &random) {
    case 0: return nil
    case 1: return [:]
    case 2, 3: return ["*": ["*"]]
    default:
      var selector: [String: Role.Values] = [:]
      for key in pick(["env", "team", "zone"], 2) {
        selector[key] = Role.Values(patterns(["dev", "prod", "a", "b", "d*", "*"], 2) + (isOne(in: 8) ? [] : ["dev"]))
      }
      if isOne(in: 10) { selector["*"] = one(of: [["*"], ["dev"], ["*", "dev"]]) }
      return selector
    }
  }

  private mutating func rules() -> [Role.Rule] {
    guard isOne(in: 3) else { return [] }
    return [
      Role.Rule(resources: pick(["role", "user", "*"], 2), verbs: pick(["list", "create", "*"], 2)),
      Role.Rule(resources: ["lock"], verbs: pick(["list", "create"], 1)),
    ]
  }

  private mutating func role(_ index: Int) -> Role {
    let isDenying = isOne(in: 4)
    let version = one(of: ["v3", "v4", "v5", "v6", "v7"])
    let allow = Role.Conditions(
      databaseLabels: selector(), databaseNames: patterns(Self.names, 3) + (isOne(in: 3) ? ["*"] : []),
      databaseUsers: patterns(Self.users, 3) + (isOne(in: 4) ? ["*"] : []),
      databaseReplication: Bool.random(using: &random), rules: rules())
    var deny = Role.Conditions()
    if isDenying {
      let labels = isOne(in: 2) ? selector() : nil
      deny = Role.Conditions(
        databaseLabels: labels, databaseNames: patterns(["reports", "x"], 1),
        databaseUsers: patterns(["bob", "x*", "alice", Self.arnWithPath], 1), rules: isOne(in: 2) ? rules() : [])
    }
    let options = Role.Options(
      maxSessionTTL: duration(), clientIdleTimeout: duration(),
      disconnectExpiredCertificate: one(of: [nil, nil, false, true]),
      maxConnections: one(of: [nil, nil, 0, 1, 5]))
    return Role(name: "r\(index)", version: version, spec: .init(allow: allow, deny: deny, options: options))
  }

  private mutating func duration() -> GoDuration? {
    isOne(in: 2) ? nil : GoDuration(seconds: one(of: [0, 60, 3600, 200_000]))
  }

  mutating func roles() -> [Role] { (0..<Int.random(in: 0...4, using: &random)).map { role($0) } }

  mutating func traits() -> [String: [String]] {
    var traits: [String: [String]] = [:]
    if !isOne(in: 3) { traits["db_users"] = pick(["alice", "bob", "al*", Self.arn], 2) }
    if isOne(in: 2) { traits["db_names"] = pick(["dev", "*", "^.*$"], 2) }
    if isOne(in: 2) { traits["team"] = pick(["a", "alice", "dev"], 2) }
    return traits
  }

  mutating func labels() -> [String: String] {
    var labels: [String: String] = [:]
    for (key, values) in [("env", ["dev", "prod"]), ("team", ["a", "b"])] where !isOne(in: 4) {
      labels[key] = one(of: values)
    }
    return labels
  }

  mutating func access(wantsReplication: Bool = false) -> DatabaseAccess {
    let users: [DatabaseUserSpellings] = [
      .init(["alice", Self.arn]), .init([Self.arn, "alice"]), .init([Self.arnWithPath], alsoDenied: ["alice"]),
      .init(["bob"]), .init(["carol"]), .init(["dev"]),
    ]
    return DatabaseAccess(
      labels: labels(), databaseName: one(of: ["dev", "reports", "other", ""]), databaseUsers: one(of: users),
      wantsReplication: wantsReplication)
  }

  /// A lock, and whether it is over.
  mutating func lock() -> (lock: Lock, isOver: Bool) {
    func some(_ values: [String]) -> String? { isOne(in: 2) ? nil : one(of: values) }
    let target = Lock.Target(
      user: some(["alice", "bob"]), role: some(["r0", "r1", "r9"]), db: some(["dev", "prod"]),
      session: some(["s", "t"]),
      serverID: some(["h", "i"]))
    let left: TimeInterval? = one(of: [nil, nil, -3600, 3600])
    let lock = Lock(name: "l", spec: .init(target: target, expires: left.map { Date() + $0 }))
    return (lock, (left ?? 1) < 0)
  }
}
