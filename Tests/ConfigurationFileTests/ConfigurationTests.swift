import Testing

@testable import ConfigurationFile

private func load(_ yaml: String) throws -> TeleportConfiguration {
  try TeleportConfiguration(yaml: yaml, file: "t.yaml")
}

struct ConfigurationTests {
  @Test func databasesAreReadWithLeadingZeros() throws {
    let configuration = try load(
      """
      version: v3
      teleport: {data_dir: /d, join_params: {method: token, token_name: /tmp/token}}
      auth_service: {enabled: "no"}
      db_service:
        enabled: "yes"
        databases:
        - name: my-redshift
          protocol: postgres
          uri: host.example.com:5439
          static_labels: {env: dev}
          aws: {region: us-east-1, account_id: 001234567890, redshift_serverless: {workgroup_name: w}}
      """)
    #expect(!configuration.isAuthEnabled)
    #expect(configuration.isDatabaseEnabled)
    #expect(configuration.tokenName == "/tmp/token")
    #expect(configuration.databases.first?.accountID == "001234567890")
    #expect(configuration.databases.first?.workgroup == "w")
    #expect(configuration.databases.first?.tlsMode == "verify-full")
  }

  @Test(arguments: [
    ("teleport:\n  data_dri: /x", "t.yaml:2: unknown key 'data_dri' (did you mean 'data_dir'?)"),
    ("db_servce: {}", "t.yaml:1: unknown key 'db_servce' (did you mean 'db_service'?)"),
    ("teleport: {data_dir: relative}", "must be an absolute path"), ("version: v9", "must be v1, v2 or v3"),
    ("auth_service: {enabled: maybe}", "must be yes or no"), ("auth_service: [1]", "must be a mapping"),
    ("a: &x 1\nb: *x", "anchors and aliases are not accepted"), ("teleport: {data_dir: /a, data_dir: /b}", "t.yaml"),
    (
      "db_service: {databases: [{name: ../x, protocol: postgres, uri: 'h:1'}]}",
      "'name' is missing or has other characters"
    ),
    ("db_service: {databases: [{name: x, protocol: mysql, uri: 'h:1'}]}", "must be 'postgres'"),
    ("db_service: {databases: [{name: x, protocol: postgres, uri: 'h?sslmode=disable:1'}]}", "must be HOST:PORT"),
    ("db_service: {databases: [{name: x, protocol: postgres, uri: 'h:99999'}]}", "must be HOST:PORT"),
    (
      "db_service: {databases: [{name: x, protocol: postgres, uri: 'h:1'}, {name: x, protocol: postgres, uri: 'h:1'}]}",
      "two entries"
    ),
    ("\u{0}", "t.yaml"), ("{", "t.yaml"),
    ("db_service: {audit: {mode: lenient}}", "must be best_effort or strict"),
    ("db_service: {audit: {queries: all}}", "must be off, statements or protocol"),
    ("db_service: {audit: {max_query_size: 8}}", "must be from 256 to 262144 bytes"),
    ("auth_service: {audit: {max_size: much}}", "must be a size such as"),
    ("auth_service: {audit: {max_size: 9999999999999GiB}}", "must be from"),
    ("auth_service: {audit: {max_sise: 1MiB}}", "did you mean 'max_size'?"),
  ])
  func mistakesAreNamed(yaml: String, words: String) {
    #expect { try load(yaml) } throws: { error in
      "\(error)".contains(words) && !"\(error)".contains("\n")
    }
  }

  @Test func auditSettingsAreRead() throws {
    let configuration = try load(
      """
      auth_service: {audit: {max_size: 5MiB, max_files: 7}}
      db_service: {audit: {queries: protocol, parameters: "yes", max_query_size: 64KiB, mode: strict, queue_size: 2 MiB}}
      """)
    #expect(configuration.auditLog.maximumSize == 5 << 20 && configuration.auditLog.maximumFiles == 7)
    let audit = configuration.queryAudit
    #expect(audit.queries == "protocol" && audit.includesParameters && audit.isStrict)
    #expect(audit.maximumQuery == 64 << 10 && audit.queueSize == 2 << 20)
    #expect(try load("db_service: {audit: {queries: off}}").queryAudit.queries == "off")
    #expect(try load("db_service: {}").queryAudit.queries == "statements")
  }

  @Test func deepNestingIsRefused() {
    let yaml = "a: " + String(repeating: "[", count: 100) + String(repeating: "]", count: 100)
    #expect { try load(yaml) } throws: { "\($0)".contains("nested deeper") }
  }

  @Test func writtenFilesAreReadBackAsWritten() throws {
    var writer = ConfigurationWriter()
    writer.name = "redshift-serverless"
    writer.uri = "w.123456789012.us-east-1.redshift-serverless.amazonaws.com:5439"
    writer.proxy = "localhost:3080"
    writer.token = "/tmp/token"
    writer.labels = ["env": "a \"quoted\" \\ value", "x": "yes"]
    writer.aws = [("account_id", "001234567890")]
    writer.workgroup = "w"
    for holdsCluster in [false, true] {
      writer.holdsCluster = holdsCluster
      let read = try TeleportConfiguration(yaml: try writer.text(), file: "written")
      #expect(read.databases.first?.labels == writer.labels)
      #expect(read.databases.first?.accountID == "001234567890")
      #expect(read.isAuthEnabled == holdsCluster)
      #expect(read.isDatabaseEnabled)
      #expect(!holdsCluster || read.webListenAddress == "0.0.0.0:3080")
    }
    writer.token = "x\nauth_service: {}"
    #expect(throws: ConfigurationError.self) { try writer.text() }
  }
}
