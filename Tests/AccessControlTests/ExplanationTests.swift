import Foundation
import TestSupport
import Testing

@testable import AccessControl

struct ExplanationTests {
  /// The verdict is the session's own, and what is said of each role adds up to it.
  @Test(arguments: [false, true]) func agreesWithTheDecisionOnRandomRoleSets(wantsReplication: Bool) {
    var random = RandomAccess(seed: 7)
    var counts = (allowed: 0, denied: 0)
    let tries = repetitions("SALLYPORT_ROLE_SETS", usually: 30_000)
    for _ in 0..<tries {
      let (roles, access) = (random.roles(), random.access(wantsReplication: wantsReplication))
      let checker = AccessChecker(roles: roles, traits: random.traits())
      let (decision, explanation) = (checker.decide(access), checker.explain(access))
      let isDenied = explanation.roles.contains { !$0.denies.isEmpty }
      let isAllowing = explanation.roles.contains(where: \.isAllowing)
      let agrees =
        explanation.isAllowed == (decision == .allowed) && explanation.isAllowed == (!isDenied && isAllowing)
        && explanation.roles.map(\.role) == roles.map(\.metadata.name)
        && explanation.mends(user: "u", wanted: [:]).isEmpty == explanation.isAllowed
      guard agrees else { return #expect(agrees, "\(roles) \(access) \(decision) \(explanation)") }
      if explanation.isAllowed { counts.allowed += 1 } else { counts.denied += 1 }
    }
    #expect(counts.allowed > tries / 60)
    #expect(counts.denied > tries / 60)
  }

  /// A step that is told, taken, opens the session.
  @Test func whatItSuggestsWorks() {
    var role = Role(
      name: "r",
      spec: .init(allow: .init(databaseLabels: ["env": ["dev"]], databaseNames: ["dev"], databaseUsers: ["a"])))
    let access = DatabaseAccess(labels: ["env": "dev"], databaseName: "prod", databaseUsers: .init(["b"]))
    let before = AccessChecker(roles: [role], traits: [:]).explain(access)
    #expect(
      before.mends(user: "u", wanted: [.users: "b", .names: "prod"])
        == ["role 'r': add 'b' to allow.db_users and add 'prod' to allow.db_names"])
    role.spec.allow.databaseUsers.append("b")
    role.spec.allow.databaseNames.append("prod")
    #expect(AccessChecker(roles: [role], traits: [:]).explain(access).isAllowed)
  }

  @Test func itNamesTheEntryThatMatched() throws {
    let role = Role(
      name: "r",
      spec: .init(
        allow: .init(
          databaseLabels: ["env": ["dev", "staging"], "team": ["a"]], databaseNames: ["x", "^rep.*$"],
          databaseUsers: ["{{internal.db_users}}"]),
        deny: .init(databaseNames: ["secret", "rep*"])))
    let access = DatabaseAccess(
      labels: ["env": "dev", "team": "a"], databaseName: "reports", databaseUsers: .init(["u2"]))
    let finding = try #require(
      AccessChecker(roles: [role], traits: ["db_users": ["u1", "u2"]]).explain(access).roles.first)
    #expect(finding.denies.map(\.match) == ["rep*"])
    #expect(finding.denies.map(\.field) == [.names])
    #expect(
      finding.allows.map(\.match) == ["env: dev|staging, team: a", "{{internal.db_users}} = [u1, u2]", "^rep.*$"])
    #expect(finding.isAllowing)
  }

  @Test func aTraitThatIsMissingIsTold() {
    let role = Role(
      name: "access",
      spec: .init(
        allow: .init(databaseLabels: ["*": ["*"]], databaseNames: ["*"], databaseUsers: ["{{internal.db_users}}"])))
    let access = DatabaseAccess(labels: [:], databaseName: "dev", databaseUsers: .init(["b"]))
    let mends = AccessChecker(roles: [role], traits: ["db_users": ["a"]]).explain(access)
      .mends(user: "alice", wanted: [.users: "b"])
    #expect(mends.count == 1)
    #expect(mends[0].contains("tctl users update alice --set-db-users=a,b"))
  }
}

struct LabelSelectorTests {
  @Test func selectsAsRolesDo() throws {
    #expect(try LabelSelector(["*": ["*"]]).matches([:]))
    #expect(try LabelSelector(["env": ["dev", "st*"], "team": ["^a|b$"]]).matches(["env": "stage", "team": "b"]))
    #expect(try !LabelSelector(["env": ["dev"]]).matches(["env": "prod"]))
    #expect(try !LabelSelector(["env": ["dev"]]).matches([:]))
    #expect(try !LabelSelector([:]).matches(["env": "dev"]))
    #expect(throws: RoleError.self) { try LabelSelector(["env": ["^($"]]) }
    #expect(throws: RoleError.self) { try LabelSelector(["*": ["dev"]]) }
  }
}

struct PlaceOfErrorTests {
  @Test(arguments: [
    (
      #"{"kind":"role","version":"v5","metadata":{"name":"r"},"spec":{"allow":{"db_userz":[]}}}"#, "spec.allow.db_userz"
    ),
    (#"{"kind":"role","version":"v9","metadata":{"name":"r"}}"#, "version"),
    (
      #"{"kind":"role","version":"v5","metadata":{"name":"r"},"spec":{"deny":{"db_names":["^($"]}}}"#,
      "spec.deny.db_names"
    ),
    (
      #"{"kind":"role","version":"v5","metadata":{"name":"r"},"spec":{"options":{"max_session_ttl":"soon"}}}"#,
      "spec.options.max_session_ttl"
    ),
  ])
  func errorsSayWhere(json: String, path: String) throws {
    let error = #expect(throws: RoleError.self) { try JSONDecoder().decode(Role.self, from: Data(json.utf8)) }
    #expect(error?.path.joined(separator: ".") == path)
  }
}
