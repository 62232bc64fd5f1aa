import Testing

@testable import AccessControl

/// What the user is told to do, role by role.
struct MendTests {
  private func role(
    _ name: String, labels: [String: Role.Values] = ["*": ["*"]], names: [String] = ["*"], users: [String] = ["*"],
    deny: Role.Conditions = .init()
  ) -> Role {
    Role(
      name: name,
      spec: .init(
        allow: .init(databaseLabels: labels, databaseNames: names, databaseUsers: users), deny: deny))
  }

  private func mends(
    _ roles: [Role], replication: Bool = false, traits: [String: [String]] = [:]
  ) -> [String] {
    AccessChecker(roles: roles, traits: traits).explain(
      DatabaseAccess(
        labels: ["env": "dev"], databaseName: "n", databaseUsers: .init(["u"]), wantsReplication: replication)
    ).mends(user: "alice", wanted: [.labels: "env: dev", .users: "u", .names: "n"])
  }

  @Test func everyKeyHasItsOwn() {
    #expect(
      mends([role("r", labels: ["env": ["prod"]])]) == [
        "role 'r': make allow.db_labels match the database's labels (env: dev)"
      ])
    #expect(mends([role("r", users: ["x"])]) == ["role 'r': add 'u' to allow.db_users"])
    #expect(mends([role("r", names: ["x"])]) == ["role 'r': add 'n' to allow.db_names"])
    #expect(mends([role("r")], replication: true) == ["role 'r': set allow.db_replication: true"])
    #expect(mends([role("r")]).isEmpty)
    #expect(mends([]) == ["give the user a role: tctl users update alice --set-roles=ROLE"])
  }

  @Test func theRoleThatNeedsLeastIsToldAbout() {
    let far = role("far", labels: ["env": ["prod"]], names: ["x"], users: ["x"])
    let near = role("near", names: ["x"])
    let nearer = role("nearer", names: ["y"])
    #expect(
      mends([far, near, nearer]) == [
        "role 'near': add 'n' to allow.db_names", "role 'nearer': add 'n' to allow.db_names",
      ])
  }

  @Test func denialsAreToldFirstAndAlone() {
    let denying = role(
      "d", deny: .init(databaseLabels: ["env": ["dev"]], databaseNames: ["n", "m"], databaseUsers: ["u*"]))
    #expect(
      mends([denying]) == [
        "role 'd': take what matches (env: dev) out of deny.db_labels, or take the role from the user",
        "role 'd': take what matches (u*) out of deny.db_users, or take the role from the user",
        "role 'd': take what matches (n) out of deny.db_names, or take the role from the user",
      ])
  }

  @Test func traitsAreMendedAtTheUser() {
    let templated = role("r", names: ["{{internal.db_names}}"], users: ["{{internal.db_users}}"])
    #expect(
      mends([templated], traits: ["db_names": ["a"]]) == [
        "role 'r': allow.db_users goes by the user's traits: tctl users update alice --set-db-users=u and "
          + "allow.db_names goes by the user's traits: tctl users update alice --set-db-names=a,n"
      ])
    // Of another trait than the field's own nothing is known.
    #expect(mends([role("r", users: ["{{internal.team}}"])]) == ["role 'r': add 'u' to allow.db_users"])
  }

  @Test func entriesAreShownAsTheyStand() throws {
    let shown = role(
      "r", labels: ["team": ["a", "b"], "env": ["dev"]], names: ["{{internal.db_names}}", "x"],
      deny: .init(databaseNames: ["{{internal.db_names}}"]))
    let access = DatabaseAccess(labels: ["env": "dev"], databaseName: "n", databaseUsers: .init(["u"]))
    let finding = try #require(
      AccessChecker(roles: [shown], traits: ["db_names": ["n", "m"]]).explain(access).roles.first)
    #expect(
      finding.allows.map(\.entries) == [["env: dev", "team: a|b"], ["*"], ["{{internal.db_names}} = [n, m]", "x"]])
    #expect(finding.allows.map(\.traitValues) == [nil, nil, ["n", "m"]])
    #expect(finding.denies.map(\.match) == ["{{internal.db_names}} = [n, m]"])
    #expect(finding.denies.map(\.traitValues) == [["n", "m"]])
    #expect(finding.denies.map(\.entries) == [["{{internal.db_names}} = [n, m]"]])
  }

  @Test func refusalsSayTheFirstThingThatIsMissing() {
    func reason(_ roles: [Role], replication: Bool = false) -> Decision {
      AccessChecker(roles: roles, traits: [:]).decide(
        DatabaseAccess(
          labels: ["env": "dev"], databaseName: "n", databaseUsers: .init(["u"]), wantsReplication: replication))
    }
    let labels = reason([role("r", labels: [:])])
    #expect(
      labels
        == .denied(reason: "no role of yours allows this database", mend: "a role whose db_labels match it is needed"))
    // Of all roles the one that gets furthest is told about.
    let names = reason([role("a", labels: [:]), role("b", names: []), role("c", users: [])])
    guard case .denied(let text, _) = names else { return #expect(Bool(false)) }
    #expect(text == "database name 'n' is not among the allowed ones")
    let denied = reason([role("r"), role("d", deny: .init(databaseNames: ["n"]))])
    #expect(
      denied == .denied(reason: "role 'd' denies database name 'n'", mend: "ask for a change of its deny.db_names"))
    let user = reason([role("r"), role("d", deny: .init(databaseUsers: ["u"]))])
    #expect(user == .denied(reason: "role 'd' denies database user 'u'", mend: "ask for a change of its deny.db_users"))
    let all = reason([role("r"), role("d", deny: .init(databaseLabels: ["*": ["*"]]))])
    #expect(all == .denied(reason: "role 'd' denies this database", mend: "ask for a change of its deny.db_labels"))
  }

  @Test func limitsOfOneSecondCount() {
    let options = Role.Options(maxSessionTTL: GoDuration(seconds: 1), clientIdleTimeout: GoDuration(seconds: 1))
    let checker = AccessChecker(roles: [Role(name: "r", spec: .init(options: options))], traits: [:])
    #expect(checker.maxSessionTTL == 1)
    #expect(checker.clientIdleTimeout == 1)
    #expect(!checker.disconnectsExpiredCertificate)
  }

  @Test func nobodyIsSpelledOutByNothing() {
    let access = DatabaseAccess(labels: [:], databaseName: "n", databaseUsers: .init([]))
    #expect(!AccessChecker(roles: [role("r")], traits: [:]).spellsOut(access))
  }
}
