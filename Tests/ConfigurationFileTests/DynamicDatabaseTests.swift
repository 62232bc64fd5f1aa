import AccessControl
import ControlAPI
import Foundation
import Testing

@testable import ConfigurationFile

/// Databases that come as resources: read with the checks of teleport.yaml, chosen by the matchers of it.
struct DynamicDatabaseTests {
  private func matchers(_ yaml: String) throws -> [DatabaseMatcher] {
    try TeleportConfiguration(yaml: "db_service:\n  resources:\n\(yaml)", file: "t.yaml").databaseMatchers
  }

  private func database(_ json: String) throws -> DatabaseResource {
    try JSONDecoder().decode(DatabaseResource.self, from: Data(json.utf8))
  }

  private let full = """
    {"kind":"db","version":"v3","metadata":{"name":"x","description":"d","labels":{"env":"dev"}},
     "spec":{"protocol":"postgres","uri":"e-endpoint-1.h:5439","tls":{"mode":"verify-ca","ca_cert":"PEM","server_name":"s"},
     "aws":{"region":"us-east-1","account_id":"012345678901","assume_role_arn":"arn:a","external_id":"i",
     "redshift_serverless":{"workgroup_name":"w","endpoint_name":"e"}}}}
    """

  @Test func aResourceSaysWhatAFileWouldSay() throws {
    var expected = try #require(
      try TeleportConfiguration(
        yaml: """
          db_service:
            databases:
            - name: x
              description: d
              protocol: postgres
              uri: e-endpoint-1.h:5439
              static_labels: {env: dev}
              tls: {mode: verify-ca, server_name: s}
              aws:
                region: us-east-1
                account_id: 012345678901
                assume_role_arn: arn:a
                external_id: i
                redshift_serverless: {workgroup_name: w, endpoint_name: e}
          """, file: "t.yaml"
      ).databases.first)
    expected.caPEM = "PEM"
    #expect(try DatabaseConfiguration(try database(full)) == expected)
  }

  @Test(arguments: [
    (#""name":"x""#, #""name":"../x""#, "metadata.name"),
    (#""protocol":"postgres""#, #""protocol":"mysql""#, "spec.protocol"),
    (#""uri":"e-endpoint-1.h:5439""#, #""uri":"h""#, "spec.uri"), ("verify-ca", "hope", "spec.tls.mode"),
    (#""endpoint_name":"e""#, #""endpoint_name":"f""#, "spec.aws.redshift_serverless.endpoint_name"),
    (#""region""#, #""regoin""#, "spec.aws.regoin"),
    (#""ca_cert":"PEM""#, #""ca_cert_file":"/x""#, "spec.tls.ca_cert_file"),
    (#""version":"v3""#, #""version":"v9""#, "version"),
    (#""uri""#, #""dynamic_labels":[{"name":"x"}],"uri""#, "spec.dynamic_labels"),
    (#""external_id":"i""#, #""external_id":"i","redshift":{"cluster_id":"c"}"#, "spec.aws.redshift"),
  ])
  func mistakesAreNamedWithTheirPlace(text: String, mistake: String, path: String) throws {
    #expect(full.contains(text))
    let error = #expect(throws: RoleError.self) {
      try DatabaseConfiguration(try database(full.replacing(text, with: mistake)))
    }
    #expect(error?.path.joined(separator: ".") == path)
  }

  @Test func matchersChooseByLabels() throws {
    let resource = try database(full)
    for (yaml, isServed) in [
      ("  - labels: {'*': '*'}", true), ("  - labels: {env: dev}", true), ("  - labels: {env: [prod, d*]}", true),
      ("  - labels: {env: dev, team: a}", false), ("  - labels: {env: prod}\n  - labels: {env: '^dev|x$'}", true),
    ] {
      #expect(try (DatabaseConfiguration(resource, matchers: matchers(yaml)) != nil) == isServed, "\(yaml)")
    }
    #expect(try DatabaseConfiguration(resource, matchers: []) == nil)
  }

  @Test func aMatcherMayNameTheRoleToAssume() throws {
    let resource = try database(full)
    let own = try DatabaseConfiguration(resource, matchers: matchers("  - labels: {env: dev}"))
    #expect(own?.assumeRoleARN == "arn:a" && own?.externalID == "i")
    let other = try DatabaseConfiguration(
      resource, matchers: matchers("  - labels: {env: dev}\n    aws: {assume_role_arn: arn:b}"))
    #expect(other?.assumeRoleARN == "arn:b" && other?.externalID == nil)
  }

  @Test(arguments: [
    ("  - {}", "t.yaml:3: 'labels' is needed"), ("  - labels: {}", "'labels' is needed"),
    ("  - labels: {env: '^($'}", "'labels' cannot be used"), ("  - labels: {'*': dev}", "'labels' cannot be used"),
    ("  - label: {env: dev}", "did you mean 'labels'?"),
    ("  - labels: {env: dev}\n    aws: {role: x}", "unknown key 'role'"),
  ])
  func matchersThatCannotBeUsedAreRefused(yaml: String, words: String) {
    #expect { try matchers(yaml) } throws: { "\($0)".contains(words) }
  }
}
