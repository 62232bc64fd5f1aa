import AWS
import ControlAPI
import Foundation
import Testing

@testable import Discovery

/// Names and labels of what was found, without AWS.
struct NamingTests {
  /// A workgroup as AWS would list it.
  static func listed(_ name: String, arn: String, host: String, port: Int?) throws -> RedshiftServerlessClient.Workgroup
  {
    let port = port.map { ",\"port\":\($0)" } ?? ""
    let json = """
      {"workgroupName":"\(name)","workgroupArn":"\(arn)","status":"AVAILABLE","namespaceName":"n",
       "endpoint":{"address":"\(host)"\(port)}}
      """
    return try JSONDecoder().decode(RedshiftServerlessClient.Workgroup.self, from: Data(json.utf8))
  }

  static func workgroup(
    _ name: String, tags: [String: String] = [:], region: String = "us-east-1", account: String = "123456789012"
  ) throws -> DiscoveredDatabase {
    let found = try listed(
      name, arn: "arn:aws:redshift-serverless:\(region):\(account):workgroup/\(name)",
      host: "\(name).\(account).\(region).redshift-serverless.amazonaws.com", port: 5439)
    return try #require(DiscoveredDatabase(found, tags: tags, at: Place(region: region, role: nil, externalID: nil)))
  }

  static func endpoint(_ name: String) throws -> DiscoveredDatabase {
    let json = """
      {"endpointName":"\(name)","endpointArn":"arn:aws:redshift-serverless:us-east-1:123456789012:managedvpcendpoint/\(name)",
       "workgroupName":"w","address":"\(name)-endpoint-x.example.com","port":5439}
      """
    let found = try JSONDecoder().decode(RedshiftServerlessClient.EndpointAccess.self, from: Data(json.utf8))
    let workgroup = try listed("w", arn: "arn:w", host: "w.example.com", port: 5439)
    let place = Place(region: "us-east-1", role: nil, externalID: nil)
    return try #require(DiscoveredDatabase(found, of: workgroup, tags: [:], at: place))
  }

  private func names(_ databases: [DiscoveredDatabase]) -> [String: String] {
    Dictionary(uniqueKeysWithValues: Naming.name(databases).named.map { ($0.database.arn, $0.name) })
  }

  @Test(arguments: [
    ("a", "a-redshift-serverless-us-east-1-123456789012"),
    ("my-redshift-serverless", "my-redshift-serverless-us-east-1-123456789012"),
    ("us-east-1-a", "us-east-1-a-redshift-serverless-123456789012"),
  ])
  func aNameSaysNothingTwice(_ name: String, _ expected: String) throws {
    let database = try Self.workgroup(name)
    #expect(database.ownName == expected)
    #expect(database.resource(named: expected).metadata.labels?["teleport.internal/discovered-name"] == name)
  }

  @Test func namesDependOnWhatIsThereAndNotOnItsOrder() throws {
    let databases = [
      try Self.workgroup("a"), try Self.workgroup("a", region: "eu-west-1"),
      try Self.workgroup("b", tags: ["TeleportDatabaseName": "x", "teleport.dev/database_name": "y"]),
      try Self.workgroup("c", tags: ["teleport.dev/database_name": "x"]), try Self.endpoint("a"),
    ]
    let expected = names(databases)
    #expect(Set(expected.values).count == 5)
    #expect(expected[databases[2].arn] == "x")
    #expect(expected[databases[3].arn] == "c-redshift-serverless-us-east-1-123456789012")
    #expect(expected[databases[4].arn] == "a-redshift-serverless-us-east-1-123456789012-vpc-endpoint")
    for _ in 0..<20 { #expect(names(databases.shuffled()) == expected) }
    #expect(Naming.name(databases).complaints.count == 2)
  }

  @Test func aChosenNameNeverTakesOneThatAnotherHas() throws {
    let plain = try Self.workgroup("z")
    let thief = try Self.workgroup("a", tags: ["TeleportDatabaseName": plain.ownName])
    let outcome = Naming.name([thief, plain])
    #expect(names([thief, plain]) == [plain.arn: plain.ownName, thief.arn: thief.ownName])
    #expect(outcome.complaints.count == 1)
    // An empty tag chooses nothing.
    let empty = try Self.workgroup("e", tags: ["TeleportDatabaseName": "", "teleport.dev/database_name": "e"])
    #expect(names([empty]) == [empty.arn: "e"])
  }

  @Test func oneThatFindsNoNameIsLeftOutAndTheOthersStay() throws {
    // Both chosen names are taken, and so is the own name of the last.
    let own = try Self.workgroup("b").ownName
    let first = try Self.workgroup("a", tags: ["TeleportDatabaseName": own])
    let second = try Self.workgroup("b", tags: ["TeleportDatabaseName": own])
    let outcome = Naming.name([second, first])
    #expect(outcome.named.map(\.database.arn) == [first.arn])
    #expect(outcome.complaints.first?.contains("is left out") == true)
  }

  @Test func factsAreStrongerThanTags() throws {
    let labels = try Self.workgroup(
      "a",
      tags: [
        "region": "r", "namespace": "m", "teleport.dev/origin": "o", "teleport.internal/x": "y",
        "teleport.hidden/x": "y",
        "aws:cloudformation:stack-name": "s", "new\nline": "v", "v": "new\nline",
      ]
    ).labels
    #expect(labels["region"] == "us-east-1" && labels["namespace"] == "n" && labels["teleport.dev/origin"] == "cloud")
    #expect(labels["teleport.internal/x"] == nil && labels["teleport.hidden/x"] == nil && labels["new\nline"] == nil)
    #expect(labels["aws:cloudformation:stack-name"] == "s" && labels["v"] == "new line")
  }

  @Test(arguments: [("arn:aws:x:r:12:workgroup/a", "h", 5439), ("arn", "h", 1), ("", "", 1)])
  func whatCannotBeTakenUpIsPassedOver(arn: String, host: String, port: Int) throws {
    let found = try Self.listed("a", arn: arn, host: host, port: port)
    #expect(DiscoveredDatabase(found, tags: [:], at: Place(region: "r", role: nil, externalID: nil)) == nil)
  }

  @Test(arguments: [nil, 0, -1, 65_536])
  func aDatabaseWithoutAPortIsNotThereYet(port: Int?) throws {
    let found = try Self.listed("a", arn: "arn:aws:x:r:123456789012:workgroup/a", host: "h", port: port)
    #expect(DiscoveredDatabase(found, tags: [:], at: Place(region: "r", role: nil, externalID: nil)) == nil)
  }
}
