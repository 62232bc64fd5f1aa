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
    .decide(DatabaseAccess(labels: labels, databaseName: name, databaseUsers: users)) == .allowed
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
    #expect(!allows([role(labels: nil)]))
    #expect(allows([role(version: "v3", labels: nil)]))
    #expect(!allows([role(version: "v3", labels: [:])]))
  }

  @Test func patterns() {
    for (pattern, subject, matches) in [
      ("abc", "abc", true), ("abc", "abcd", false), ("a*c", "abbbc", true), ("a*c", "ab", false), ("*", "", true),
      ("a*a", "a", false), ("*b*", "abc", true), ("^a|b$", "ax", false), ("^a|ab$", "ab", true), ("^a.c$", "abc", true),
      ("^A$", "a", false), ("{{internal.db_users}}", "t1", true), ("{{internal.nothing}}", "", false),
      ("{{external.db_users}}", "t2", true), ("{{internal.db_users}}", "{{internal.db_users}}", false),
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
    let asked = DatabaseAccess(labels: [:], databaseName: "d", databaseUsers: ["u"], wantsReplication: true)
    #expect(AccessChecker(roles: [role()], traits: [:]).decide(asked) != .allowed)
    var allowing = role()
    allowing.spec.allow.databaseReplication = true
    #expect(AccessChecker(roles: [allowing], traits: [:]).decide(asked) == .allowed)
  }

  @Test func refusalsSayWhatWouldHelp() {
    guard
      case .denied(let reason, let mend) = AccessChecker(roles: [role(users: ["x"])], traits: [:]).decide(
        DatabaseAccess(labels: [:], databaseName: "d", databaseUsers: ["u"]))
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

struct RoleTests {
  @Test(arguments: [
    #"{"kind":"role","version":"v5","metadata":{"name":"x"},"spec":{"allow":{"db_user":["a"]}}}"#,
    #"{"kind":"role","version":"v9","metadata":{"name":"x"},"spec":{}}"#,
    #"{"kind":"user","version":"v5","metadata":{"name":"x"},"spec":{}}"#,
    #"{"kind":"role","version":"v5","metadata":{"name":"../x"},"spec":{}}"#,
    #"{"kind":"role","version":"v5","metadata":{"name":"x"},"spec":{"allow":{"db_users":["^($"]}}}"#,
    #"{"kind":"role","version":"v5","metadata":{"name":"x"},"spec":{"options":{"max_session_ttl":"soon"}}}"#,
    #"{"kind":"role","version":"v5","metadata":{"name":"x"},"spec":{"allow":{"db_labels":{"*":"a"}}}}"#,
  ])
  func badRolesAreRefused(json: String) {
    #expect(throws: (any Error).self) { try JSONDecoder().decode(Role.self, from: Data(json.utf8)) }
  }

  @Test func guidesRoleRoundTrips() throws {
    let json = #"""
      {"kind":"role","version":"v5","metadata":{"name":"redshift-serverless-access"},"spec":{"allow":
      {"db_labels":{"*":"*"},"db_names":["dev"],"db_users":["teleport-redshift-serverless-access"],"logins":["root"]}}}
      """#
    let role = try JSONDecoder().decode(Role.self, from: Data(json.utf8))
    #expect(try JSONDecoder().decode(Role.self, from: JSONEncoder().encode(role)) == role)
  }

  @Test(arguments: [("30h0m0s", 108_000), ("90m", 5400), ("1h30m", 5400), ("never", 0), ("45s", 45), ("2d", 172_800)])
  func durations(text: String, seconds: Int) { #expect(GoDuration(text)?.seconds == seconds) }

  @Test(arguments: ["", "h", "1", "1x", "-1h", "1e9h", "99999999999999999999h", "1h "])
  func notDurations(text: String) { #expect(GoDuration(text) == nil) }
}
