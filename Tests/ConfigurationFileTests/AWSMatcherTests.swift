import ControlAPI
import Testing

@testable import ConfigurationFile

/// `aws` of db_service and discovery_service.
struct AWSMatcherTests {
  private func read(_ yaml: String) throws -> TeleportConfiguration {
    try TeleportConfiguration(yaml: yaml, file: "t.yaml")
  }

  @Test func aMatcherSaysWhereToLookAndAsWhom() throws {
    let configuration = try read(
      """
      db_service:
        poll_interval: 90s
        aws:
        - types: [redshift-serverless, redshift]
          regions: [us-east-1, eu-west-1]
          tags: {env: [prod, test], team: '*'}
          assume_role_arn: arn:aws:iam::123456789012:role/scout
          external_id: e
        - {types: redshift, regions: us-west-2}
      """)
    let matchers = configuration.awsMatchers
    #expect(configuration.pollInterval.seconds == 90)
    #expect(matchers.map(\.types) == [[.redshiftServerless, .redshift], [.redshift]])
    #expect(matchers.map(\.regions) == [["us-east-1", "eu-west-1"], ["us-west-2"]])
    #expect(matchers[0].assumeRoleARN == "arn:aws:iam::123456789012:role/scout" && matchers[0].externalID == "e")
    #expect(matchers[0].tags.matches(["env": "test", "team": ""]))
    #expect(!matchers[0].tags.matches(["env": "test"]))
    // Without tags everything is meant.
    #expect(matchers[1].tags.matches([:]) && matchers[1].assumeRoleARN == nil)
    #expect(!configuration.discovery.isEnabled)
  }

  @Test func theDiscoveryServiceHasMatchersOfItsOwn() throws {
    let discovery = try read(
      """
      discovery_service:
        enabled: yes
        discovery_group: prod
        aws: [{types: [redshift], regions: [us-east-1], tags: {'*': '*'}}]
      """
    ).discovery
    #expect(discovery.isEnabled && discovery.group == "prod" && discovery.matchers.count == 1)
    #expect(discovery.pollInterval.seconds == 300)
    // What is off is not read: a file that was written for more serves all the same.
    #expect(
      try !read("discovery_service: {enabled: no, aws: [{types: [ec2]}], azure: [{types: [aks]}]}").discovery.isEnabled)
  }

  @Test(arguments: [
    ("db_service: {aws: [{regions: [us-east-1]}]}", "'types' is needed, of redshift, redshift-serverless"),
    ("db_service: {aws: [{types: [rds], regions: [us-east-1]}]}", "'types' has 'rds', which is not looked for"),
    ("db_service: {aws: [{types: [redshift]}]}", "'regions' must name the regions"),
    ("db_service: {aws: [{types: [redshift], regions: ['*']}]}", "'regions' must name the regions"),
    ("db_service: {aws: [{types: [redshift], regions: [a/b]}]}", "'regions' must name the regions"),
    ("db_service: {aws: [{types: [redshift], regions: [us-east-1], tags: {'*': x}}]}", "'tags' cannot be used"),
    ("db_service: {aws: [{types: [redshift], regions: [us-east-1], tag: {}}]}", "did you mean 'tags'?"),
    (
      "db_service: {aws: [{types: [redshift], regions: [us-east-1], integration: x}]}", "'integration' is not supported"
    ),
    ("db_service: {poll_interval: 0s}", "'poll_interval' must be a duration from 1s to 24h"),
    ("discovery_service: {enabled: yes}", "'discovery_group' is needed"),
    ("discovery_service: {discovery_group: a b}", "'discovery_group' is needed"),
    ("discovery_service: {discovery_group: a, azure: [{types: [aks]}]}", "'azure' is not supported"),
    ("discovery_service: {discovery_group: a, poll_interval: 25h}", "'poll_interval' must be"),
  ])
  func mistakesAreNamed(yaml: String, words: String) {
    #expect { try read(yaml) } throws: { "\($0)".hasPrefix("t.yaml:1: ") && "\($0)".contains(words) }
  }
}
