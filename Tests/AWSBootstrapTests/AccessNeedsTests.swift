import AWS
import Testing

@testable import AWSBootstrap

struct AccessNeedsTests {
  static let node = BootstrapTarget(
    identity: .role("node"), account: "123456789012", partition: .standard, arn: "arn:aws:iam::123456789012:role/node")
  static let middle = "arn:aws:iam::123456789012:role/team/middle"

  static func needs() throws -> [AccessNeed] {
    let role = try RoleARN(middle)
    return [
      AccessNeed(name: "plain", kind: .workgroup, account: "123456789012", partition: .standard),
      AccessNeed(
        name: "chained", kind: .workgroup, account: "123456789012", partition: .standard, assumeRole: role,
        externalID: "x"),
      AccessNeed(
        name: "found", kind: .discovery([.redshiftServerless]), account: nil, partition: .standard, assumeRole: role),
      AccessNeed(
        name: "cluster", kind: .cluster(id: "c", region: "us-east-1", account: "123456789012"), account: "123456789012",
        partition: .standard),
    ]
  }

  @Test func theServicesIdentityAnswersForAllAndAssumesTheRestsRoles() throws {
    let share = TargetNeeds(try Self.needs(), of: Self.node)
    #expect(!share.isAssumed)
    #expect(share.names == ["plain", "cluster"])
    #expect(
      try share.policy(userRoles: ["arn:aws:iam::123456789012:role/user"]).statements == [
        .init("AssumeRoles", ["sts:AssumeRole"], on: ["arn:aws:iam::123456789012:role/user", Self.middle]),
        .init(
          "LogInToRedshift", ["redshift:GetClusterCredentials"],
          on: [
            "arn:aws:redshift:us-east-1:123456789012:dbname:c/*", "arn:aws:redshift:us-east-1:123456789012:dbuser:c/*",
          ]),
      ])
  }

  @Test(arguments: [middle, nil])
  func anAssumedRoleAnswersForWhatIsReachedThroughIt(_ arn: String?) throws {
    let target = BootstrapTarget(identity: .role("middle"), account: "123456789012", partition: .standard, arn: arn)
    let share = TargetNeeds(try Self.needs(), of: target)
    #expect(share.isAssumed)
    #expect(share.names == ["chained", "found"])
    #expect(share.target.arn == Self.middle)
    #expect(try share.policy(userRoles: []).statements.map(\.id) == ["DiscoverRedshiftServerless"])
    #expect(share.boundary.statements.map(\.id) == ["AssumeRoles", "DiscoverRedshiftServerless"])
    #expect(share.boundary.statements.first?.resources == ["*"])
  }

  @Test(arguments: [
    BootstrapTarget(identity: .role("middle"), account: "999999999999", partition: .standard),
    BootstrapTarget(identity: .user("middle"), account: "123456789012", partition: .standard),
    BootstrapTarget(
      identity: .role("middle"), account: "123456789012", partition: .standard,
      arn: "arn:aws:iam::123456789012:role/middle"),
  ])
  func othersOfItsNameAreNotIt(_ target: BootstrapTarget) throws {
    #expect(!TargetNeeds(try Self.needs(), of: target).isAssumed)
  }

  @Test func aPolicyThatIAMWouldNotTakeIsRefusedBefore() throws {
    let share = TargetNeeds(try Self.needs(), of: Self.node)
    let roles = (0..<200).map { "arn:aws:iam::123456789012:role/role-with-a-long-name-\($0)" }
    #expect(throws: BootstrapError.self) { try share.policy(userRoles: roles) }
  }

  @Test(arguments: [
    ("arn:aws:iam::123456789012:role/a/b", "role b"), ("arn:aws-cn:iam::123456789012:user/b", "user b"),
    ("arn:aws:sts::123456789012:assumed-role/b/i-0123", "role b"),
  ])
  func callers(_ arn: String, _ expected: String) throws {
    #expect(try BootstrapTarget(arn: arn).description == expected)
  }

  @Test(arguments: [
    "", "arn", "arn:aws:iam::123456789012:root", "arn:aws:sts::123456789012:federated-user/x", "arn:aws:iam::1:role/x",
    "arn:nowhere:iam::123456789012:role/x", "arn:aws:iam::123456789012:role",
    "arn:aws:sts::123456789012:assumed-role/b",
    "arn:aws:s3:::bucket",
  ])
  func notTargets(_ arn: String) { #expect(throws: BootstrapError.self) { try BootstrapTarget(arn: arn) } }

  @Test func roleNames() throws {
    let roles = RoleNames(" a , arn:aws:iam::999999999999:role/p/b-*,")
    #expect(
      try roles.arns(account: "123456789012", partition: .usGov) == [
        "arn:aws-us-gov:iam::123456789012:role/a", "arn:aws:iam::999999999999:role/p/b-*",
      ])
    #expect(RoleNames(nil).isEmpty && RoleNames(" ,").isEmpty)
    #expect(throws: BootstrapError.self) { try roles.arns(account: nil, partition: .standard) }
    for bad in [
      "a b", "*/*", "arn:aws:iam::12:role/a", "arn:aws:s3:::a", "arn:aws:iam::123456789012:user/a", "ä", "\"",
    ] {
      #expect(throws: BootstrapError.self) { try RoleNames(bad).arns(account: "123456789012", partition: .standard) }
    }
  }
}
