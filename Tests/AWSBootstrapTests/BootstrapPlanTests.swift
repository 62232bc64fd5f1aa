import AWS
import Testing

@testable import AWSBootstrap

struct BootstrapPlanTests {
  static let target = AccessNeedsTests.node
  static let document = PolicyDocument(statements: [.init("AssumeRoles", ["sts:AssumeRole"], on: ["a"])])
  static let boundaryDocument = PolicyDocument(statements: [.init("AssumeRoles", ["sts:AssumeRole"], on: ["*"])])
  static let permissions = ManagedPolicy(purpose: .permissions, name: "P", arn: "arn:P", document: document)
  static let boundary = ManagedPolicy(purpose: .boundary, name: "B", arn: "arn:B", document: boundaryDocument)
  static let mine = [BootstrapPlan.tagKey: "role/node"]

  static func found(_ document: PolicyDocument, tags: [String: String] = mine, versions: Int = 1) -> ManagedPolicy.Found
  {
    ManagedPolicy.Found(
      tags: tags, document: document.json,
      versions: (1...versions).reversed().map { .init(id: "v\($0)", isDefault: $0 == 1) })
  }

  static func plan(
    _ permissionsFound: ManagedPolicy.Found?, _ boundaryFound: ManagedPolicy.Found?,
    _ target: BootstrapPlan.FoundTarget = .init(attached: [], inline: [], boundary: nil), attaches: Bool = true
  ) throws -> BootstrapPlan {
    try BootstrapPlan(
      target: Self.target, permissions: (permissions, permissionsFound), boundary: (boundary, boundaryFound),
      found: target,
      attaches: attaches)
  }

  private func words(_ plan: BootstrapPlan) -> [String] { plan.steps.map { $0.words(Self.target) } }

  @Test func everythingIsMadeWhereNothingIs() throws {
    #expect(
      words(try Self.plan(nil, nil)) == [
        "create the policy P", "attach the policy P to role node", "create the boundary B",
        "set the boundary B as permissions boundary of role node",
      ])
    #expect(words(try Self.plan(nil, nil, attaches: false)) == ["create the policy P", "create the boundary B"])
  }

  @Test func whatIsThereStays() throws {
    let plan = try Self.plan(
      Self.found(Self.document), Self.found(Self.boundaryDocument),
      .init(attached: ["arn:P"], inline: [], boundary: "arn:B"))
    #expect(plan.isEmpty)
    #expect(plan.notes.isEmpty)
  }

  @Test func aRunThatBrokeOffIsTakenUp() throws {
    let plan = try Self.plan(Self.found(Self.document), nil)
    #expect(words(plan).first == "attach the policy P to role node")
    #expect(plan.steps.count == 3)
  }

  @Test func theSixthVersionTakesTheOldestsPlaceButNeverTheOneInForce() throws {
    let other = PolicyDocument(statements: [])
    let attached = BootstrapPlan.FoundTarget(attached: ["arn:P"], inline: [], boundary: "arn:B")
    #expect(
      words(try Self.plan(Self.found(other, versions: 4), Self.found(Self.boundaryDocument), attached)) == [
        "update the policy P"
      ])
    #expect(
      words(try Self.plan(Self.found(other, versions: 5), Self.found(Self.boundaryDocument), attached)) == [
        "update the policy P, dropping its version v2"
      ])
  }

  @Test func policiesOfOthersAreRefused() throws {
    for tags in [[:], [BootstrapPlan.tagKey: "role/other"], ["other": "role/node"]] {
      for (permissions, boundary) in [
        (Self.found(Self.document, tags: tags), nil), (nil, Self.found(Self.boundaryDocument, tags: tags)),
      ] {
        let error = #expect(throws: BootstrapError.self) { try Self.plan(permissions, boundary) }
        #expect(error?.mend?.contains("--policy-name") == true)
      }
    }
  }

  @Test func aBoundaryOfOthersStaysAndIsNamed() throws {
    let plan = try Self.plan(nil, nil, .init(attached: [], inline: [], boundary: "arn:theirs"))
    #expect(words(plan) == ["create the policy P", "attach the policy P to role node"])
    #expect(plan.notes.count == 1)
    #expect(plan.notes[0].contains("arn:theirs") && plan.notes[0].contains("sts:AssumeRole on *"))
  }

  @Test func whatTheBoundaryTakesAwayIsSaid() throws {
    let plan = try Self.plan(nil, nil, .init(attached: ["arn:ssm"], inline: ["logs"], boundary: nil))
    #expect(plan.notes.count == 1)
    #expect(plan.notes[0].contains("arn:ssm, logs"))
    #expect(plan.text.contains("NOTE: "))
  }
}
