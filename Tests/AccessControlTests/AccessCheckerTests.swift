import Foundation
import Testing

@testable import AccessControl

private func role(
  _ name: String = "r", version: String = "v5", labels: [String: Role.Values]? = ["*": ["*"]], names: [String] = ["*"],
  users: [String] = ["*"], deny: Role.Conditions = .init(), options: Role.Options = .init()
) -> Role {
  Role(
    name: name, version: version,
    spec: .init(
      allow: .init(databaseLabels: labels, databaseNames: names, databaseUsers: users), deny: deny, options: options))
}

private func allows(
  _ roles: [Role], labels: [String: String] = ["env": "dev"], name: String = "dev", users: [String] = ["u"],
  traits: [String: [String]] = [:]
) -> Bool {
  AccessChecker(roles: roles, traits: traits)
    .decide(DatabaseAccess(labels: labels, databaseName: name, databaseUsers: .init(users))) == .allowed
}

struct AccessCheckerTests {
  @Test func labels() {
    #expect(allows([role(labels: ["env": ["dev"]])]))
    #expect(allows([role(labels: ["env": ["prod", "dev"]])]))
    #expect(!allows([role(labels: ["env": ["prod"]])]))
    #expect(!allows([role(labels: ["env": ["dev"], "team": ["a"]])]))
    #expect(allows([role(labels: ["env": ["d*"]])]))
    #expect(allows([role(labels: ["env": ["^de.$"]])]))
    #expect(!allows([role(labels: [:])]))
  }

  /// What Teleport's own role defaults say (docs/decisions/010), version by version.
  @Test(arguments: [("v3", true), ("v4", false), ("v5", false), ("v6", false), ("v7", false)])
  func labelsThatAreNotMentioned(version: String, meansAll: Bool) {
    #expect(allows([role(version: version, labels: nil)]) == meansAll)
    #expect(!allows([role(version: version, labels: [:])]))
    #expect(allows([role(version: version, labels: ["*": ["*"]])]))
  }

  @Test func patterns() {
    for (pattern, subject, matches) in [
      ("abc", "abc", true), ("abc", "abcd", false), ("a*c", "abbbc", true), ("a*c", "ab", false), ("*", "", true),
      ("a*a", "a", false), ("*b*", "abc", true), ("^a|b$", "ax", false), ("^a|ab$", "ab", true), ("^a.c$", "abc", true),
      ("^A$", "a", false), ("{{internal.db_users}}", "t1", true), ("{{internal.nothing}}", "", false),
      ("{{external.db_users}}", "t2", true),
      ("{{ internal.db_users }}", "t1", true), ("a**c", "abc", true), ("*ab*ab", "abab", true), ("*ab*ab", "ab", false),
      ("a*", "a\u{301}", true), ("\u{e9}", "e\u{301}", false), ("^a$", "a\n", false), ("^.*$", "a\nb", false),
      ("{{internal.db_users}}", "{{internal.db_users}}", false),
    ] {
      #expect(
        allows([role(users: [pattern])], users: [subject], traits: ["db_users": ["t1", "t2"]]) == matches,
        "\(pattern) \(subject)")
    }
  }

  @Test func oneRoleMustMatchEverything() {
    let a = role("a", labels: ["env": ["dev"]], names: ["dev"], users: ["x"])
    let b = role("b", labels: ["env": ["prod"]], names: ["dev"], users: ["u"])
    #expect(!allows([a, b]))
    #expect(allows([a, b, role("c")]))
  }

  @Test func denyWins() {
    #expect(!allows([role(), role("d", deny: .init(databaseUsers: ["*"]))]))
    #expect(!allows([role(), role("d", deny: .init(databaseNames: ["dev"]))]))
    #expect(!allows([role(), role("d", deny: .init(databaseLabels: ["env": ["dev"]]))]))
    #expect(allows([role(), role("d", deny: .init(databaseLabels: [:]))]))
  }

  @Test func eitherSpellingOfARoleIsAllowedAndDenied() {
    let both = ["access", "arn:aws:iam::123456789012:role/access"]
    for listed in both {
      #expect(allows([role(users: [listed])], users: both))
      #expect(!allows([role(), role("d", deny: .init(databaseUsers: [listed]))], users: both))
    }
    #expect(!allows([role(users: ["arn:aws:iam::999999999999:role/access"])], users: both))
  }

  /// `arn:…:role/p/x` and `x` are both IAMR:x to the database: a deny of the name holds for both, an allow for one.
  @Test func nameWithoutPathDeniesButDoesNotAllow() {
    let arn = "arn:aws:iam::123456789012:role/p/x"
    let asked = DatabaseUserSpellings([arn], alsoDenied: ["x"])
    func decide(_ roles: [Role]) -> Decision {
      AccessChecker(roles: roles, traits: [:]).decide(
        DatabaseAccess(labels: [:], databaseName: "d", databaseUsers: asked))
    }
    for (denied, isAllowed) in [("x", false), (arn, false), ("^x$", false), ("y", true), ("p/x", true)] {
      #expect(
        (decide([role(), role("d", deny: .init(databaseUsers: [denied]))]) == .allowed) == isAllowed, "\(denied)")
    }
    for (allowed, isAllowed) in [("x", false), (arn, true), ("*", true), ("arn:aws:iam::123456789012:role/x", false)] {
      #expect((decide([role(users: [allowed])]) == .allowed) == isAllowed, "\(allowed)")
    }
  }

  /// Such a role cannot be stored; were it there, it must not open what it was to close.
  @Test func unreadableEntriesDenyAndDoNotAllow() {
    #expect(!allows([role(), role("d", deny: .init(databaseUsers: ["^($"]))]))
    #expect(!allows([role(), role("d", deny: .init(databaseNames: ["^($"]))]))
    #expect(!allows([role(), role("d", deny: .init(databaseLabels: ["env": ["^($"]]))]))
    #expect(!allows([role(users: ["^($"])]))
  }

  @Test func strictestLimitsCount() throws {
    let roles = [
      role("a", options: .init(maxSessionTTL: GoDuration("8h"), clientIdleTimeout: GoDuration("never"))),
      role(
        "b",
        options: .init(
          maxSessionTTL: GoDuration("1h30m"), clientIdleTimeout: GoDuration("10m"), disconnectExpiredCertificate: true)),
    ]
    let checker = AccessChecker(roles: roles, traits: [:])
    #expect(checker.maxSessionTTL == 5400)
    #expect(checker.clientIdleTimeout == 600)
    #expect(checker.disconnectsExpiredCertificate)
    #expect(AccessChecker(roles: [role()], traits: [:]).maxSessionTTL == 30 * 3600)
  }

  @Test func replicationNeedsItsOwnPermission() {
    let asked = DatabaseAccess(labels: [:], databaseName: "d", databaseUsers: .init(["u"]), wantsReplication: true)
    guard case .replicationDenied = AccessChecker(roles: [role()], traits: [:]).decide(asked) else {
      return #expect(Bool(false))
    }
    guard case .denied = AccessChecker(roles: [role(names: [])], traits: [:]).decide(asked) else {
      return #expect(Bool(false), "a name that is denied is told before the replication")
    }
    var allowing = role()
    allowing.spec.allow.databaseReplication = true
    #expect(AccessChecker(roles: [allowing], traits: [:]).decide(asked) == .allowed)
  }

  @Test func refusalsSayWhatWouldHelp() {
    guard
      case .denied(let reason, let mend) = AccessChecker(roles: [role(users: ["x"])], traits: [:]).decide(
        DatabaseAccess(labels: [:], databaseName: "d", databaseUsers: .init(["u"])))
    else { return #expect(Bool(false)) }
    #expect(reason.contains("'u'"))
    #expect(mend.contains("db_users"))
  }

  @Test func rulesOverResources() {
    let editor = AccessChecker(roles: Role.presets.filter { $0.metadata.name == "editor" }, traits: [:])
    #expect(editor.allows("create", on: "role"))
    #expect(!editor.allows("list", on: "session"))
    let denying = Role(name: "d", spec: .init(deny: .init(rules: [.init(resources: ["*"], verbs: ["delete"])])))
    let both = AccessChecker(roles: Role.presets + [denying], traits: [:])
    #expect(!both.allows("delete", on: "role"))
    #expect(both.allows("create", on: "role"))
  }
}
