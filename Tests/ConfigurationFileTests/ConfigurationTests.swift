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

  @Test func operationsHaveDefaultsAndBounds() throws {
    #expect(try load("version: v3").diagAddress == nil)
    #expect(try load("version: v3").shutdownTimeout.seconds == 30)
    let configuration = try load("teleport: {diag_addr: '127.0.0.1:3000', shutdown_timeout: 1m30s, pid_file: /run/x}")
    #expect(configuration.diagAddress == "127.0.0.1:3000")
    #expect(configuration.shutdownTimeout.seconds == 90)
    #expect(configuration.pidFile == "/run/x")
  }

  @Test func reloadKeepsWhatCannotChange() throws {
    let old = try load("teleport: {data_dir: /a, diag_addr: 'h:1', shutdown_timeout: 5s}")
    let new = try load(
      """
      teleport: {data_dir: /b, shutdown_timeout: 7s, log: {severity: DEBUG}}
      proxy_service: {web_listen_addr: '0.0.0.0:1', public_addr: 'x:1', cancel_in_clear: no}
      db_service:
        databases: [{name: d, protocol: postgres, uri: 'h:1'}]
      """)
    let (result, needsRestart) = old.reloaded(with: new)
    #expect(
      needsRestart == [
        "teleport.data_dir", "teleport.diag_addr", "proxy_service.web_listen_addr", "db_service.enabled",
      ])
    #expect(result.dataDirectory == "/a" && result.diagAddress == "h:1" && result.webListenAddress == "0.0.0.0:3080")
    #expect(result.shutdownTimeout.seconds == 7 && result.logSeverity == "DEBUG" && !result.allowsCancelInClear)
    #expect(result.databases.map(\.name) == ["d"] && result.publicAddresses == ["x:1"])
    #expect(old.reloaded(with: old).needsRestart == [])
  }

  @Test(arguments: [
    ("teleport: {diag_addr: nowhere}", "t.yaml:1: 'diag_addr' must be HOST:PORT"),
    ("teleport: {shutdown_timeout: soon}", "must be a duration"),
    ("teleport: {shutdown_timeout: 25h}", "must be a duration"),
    ("teleport: {log: {severity: LOUD}}", "must be DEBUG, INFO, WARN or ERROR"),
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
  ])
  func mistakesAreNamed(yaml: String, words: String) {
    #expect { try load(yaml) } throws: { error in
      "\(error)".contains(words) && !"\(error)".contains("\n")
    }
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
