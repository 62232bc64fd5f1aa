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

  @Test func reactorIsOneOfThree() throws {
    #expect(try load("version: v3").reactorInterface == .auto)
    #expect(try load("teleport: {reactor: io_uring}").reactorInterface == .ioUring)
    #expect(try load("teleport: {reactor: auto}").reactorInterface == .auto)
    #expect(throws: ConfigurationError.self) { try load("teleport: {reactor: kqueue}") }
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
    #expect(result.shutdownTimeout.seconds == 7 && result.log.severity == "debug" && !result.allowsCancelInClear)
    #expect(result.databases.map(\.name) == ["d"] && result.publicAddresses == ["x:1"])
    #expect(old.reloaded(with: old).needsRestart == [])
  }

  @Test(arguments: [
    ("teleport: {diag_addr: nowhere}", "t.yaml:1: 'diag_addr' must be HOST:PORT"),
    ("teleport: {shutdown_timeout: soon}", "must be a duration"),
    ("teleport: {shutdown_timeout: 25h}", "must be a duration"),
    ("teleport: {log: {severity: LOUD}}", "must be TRACE, DEBUG, INFO, NOTICE, WARN, ERROR or CRITICAL"),
    ("teleport:\n  data_dri: /x", "t.yaml:2: unknown key 'data_dri' (did you mean 'data_dir'?)"),
    ("db_servce: {}", "t.yaml:1: unknown key 'db_servce' (did you mean 'db_service'?)"),
    ("teleport: {data_dir: relative}", "must be an absolute path"), ("version: v9", "must be v1, v2 or v3"),
    ("auth_service: {enabled: maybe}", "must be yes or no"), ("auth_service: [1]", "must be a mapping"),
    ("a: &x 1\nb: *x", "anchors and aliases are not accepted"), ("teleport: !x {}", "tags such as !x are not accepted"),
    ("teleport: {data_dir: /a, data_dir: /b}", "t.yaml"),
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
    ("teleport: {connection_limits: {max_connections: 0}}", "from 1 to 1000000"),
    ("teleport: {connection_limits: {exempt: [10.0.0.1/8]}}", "has '10.0.0.1/8', which is not an address or a block"),
    ("auth_service: {audit: {max_sise: 1MiB}}", "did you mean 'max_size'?"),
  ])
  func mistakesAreNamed(yaml: String, words: String) {
    #expect { try load(yaml) } throws: { error in
      "\(error)".contains(words) && !"\(error)".contains("\n")
    }
  }

  private static func database(_ settings: String) -> String {
    "db_service:\n  databases:\n  - name: x\n    protocol: postgres\n    uri: h:1\n    \(settings)"
  }

  @Test func stateInPostgreSQL() throws {
    let configuration = try load(
      "teleport:\n  storage: {type: postgresql, conn_string: 'host=h dbname=d'}\n  auth_servers: ['a:1', 'b:2']")
    #expect(configuration.storage == .postgresql(connectionString: "host=h dbname=d"))
    #expect(configuration.membership.servers == ["a:1", "b:2"])
    #expect(try load("teleport: {}").storage == .sqlite)
    #expect {
      try load("teleport:\n  storage:\n    conn_strin: x")
    } throws: {
      "\($0)" == "t.yaml:3: unknown key 'conn_strin' (did you mean 'conn_string'?)"
    }
  }

  /// What someone relies on and is not there stops the start, with its line.
  @Test(arguments: [
    ("teleport:\n  connection_limits: {max_users: 10}", 2, "max_users"),
    ("teleport:\n  storage: {type: etcd}", 2, "type"),
    ("teleport:\n  storage:\n    type: sqlite\n    conn_string: host=h", 4, "conn_string"),
    ("teleport:\n  storage: {type: postgresql}", 2, "conn_string"),
    ("auth_service:\n  proxy_listener_mode: separate", 2, "proxy_listener_mode"),
    ("proxy_service:\n  listen_addr: 0.0.0.0:3023", 2, "listen_addr"),
    ("proxy_service:\n  tunnel_listen_addr: 0.0.0.0:3024", 2, "tunnel_listen_addr"),
    ("proxy_service:\n  acme: {enabled: yes, email: a@b}", 2, "acme"),
    ("proxy_service:\n  acme: {email: a@b}", 2, "acme"),
    ("db_service:\n  aws: [{types: [redshift-serverless]}]", 2, "regions"),
    (database("dynamic_labels: [{name: a}]"), 6, "command"),
    (database("dynamic_labels: [{name: a, command: [b], period: 0s}]"), 6, "period"),
    (database("dynamic_labels: [{command: [b]}]"), 6, "name"),
    (database("admin_user: {name: a}"), 6, "admin_user"), (database("admin_user: a"), 6, "admin_user"),
    (database("aws: {redshift: {cluster_id: a}, redshift_serverless: {workgroup_name: b}}"), 6, "redshift"),
    (database("aws: {redshift_serverless: {endpoint_name: other}}"), 6, "endpoint_name"),
    ("ssh_service: {enabled: yes}", 1, "ssh_service"), ("version: v3\nssh_service: {labels: {a: b}}", 2, "ssh_service"),
    ("discovery_service: {aws: []}", 1, "discovery_group"),
    ("teleport:\n  log: {severity: LOUD}", 2, "severity"), ("teleport:\n  log: {output: syslog}", 2, "output"),
    ("teleport:\n  log: {output: log.txt}", 2, "output"), ("teleport:\n  log: {format: xml}", 2, "format"),
    ("teleport:\n  log: {format: {output: json, extra_fields: [caller]}}", 2, "extra_fields"),
    ("proxy_service:\n  web_listen_addr: ::1:3080", 2, "web_listen_addr"),
    ("proxy_service:\n  postgres_listen_addr: '5432'", 2, "postgres_listen_addr"),
    ("proxy_service:\n  public_addr: [good, 'https://bad']", 2, "public_addr"),
    (
      "proxy_service:\n  https_keypairs: [{key_file: a, cert_file: b}, {key_file: c, cert_file: d}]", 2,
      "https_keypairs"
    ),
  ])
  func whatIsNotImplementedIsRefused(yaml: String, line: Int, key: String) {
    #expect { try load(yaml) } throws: { error in
      "\(error)".hasPrefix("t.yaml:\(line): '\(key)' ") && !"\(error)".contains("\n")
    }
  }

  @Test(arguments: [
    "teleport: {connection_limits: {}, storage: {type: sqlite}}", "teleport: {connection_limits: , storage: }",
    "auth_service: {tokens: [], proxy_listener_mode: multiplex}", "proxy_service: {acme: {enabled: no, email: a@b}}",
    "proxy_service: {acme: {enabled: 'off'}, https_keypairs: []}", "db_service: {resources: [], aws: ~}",
    database("dynamic_labels: []"), database("admin_user: {}"), database("aws: {redshift: {}}"),
    "ssh_service: {enabled: 'no', commands: [{name: a}]}", "discovery_service: {enabled: false}",
    "proxy_service: {public_addr: [good, '[::1]:443', 1.2.3.4]}",
  ])
  func whatChangesNothingIsAccepted(yaml: String) throws { _ = try load(yaml) }

  @Test func endpointNamesThatAgreeWithTheUriAreAccepted() throws {
    let host = "vpc-endpoint-abc.123456789012.us-east-1.redshift-serverless.amazonaws.com"
    let settings = "aws: {redshift_serverless: {workgroup_name: w, endpoint_name: vpc}}"
    _ = try load(Self.database(settings).replacing("h:1", with: "\(host):5439"))
  }

  @Test func logSettings() throws {
    #expect(try load("version: v3").log == LogConfiguration())
    for (written, read) in [
      ("TRACE", "trace"), ("DEBUG", "debug"), ("info", "info"), ("NOTICE", "notice"), ("WARN", "warning"),
      ("Warning", "warning"), ("ERROR", "error"), ("critical", "critical"),
    ] {
      #expect(try load("teleport: {log: {severity: \(written)}}").log.severity == read)
    }
    let log = try load("teleport: {log: {output: /var/log/x, format: json}}").log
    #expect(log.output == .file("/var/log/x"))
    #expect(log.format == .json)
    #expect(try load("teleport: {log: {output: ~, format: null, severity: }}").log == LogConfiguration())
    #expect(throws: ConfigurationError.self) { try load("teleport: {log: {output: '~'}}") }
    #expect(try load("teleport: {log: {output: stdout, format: {output: text}}}").log.output == .stdout)
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
    writer.caPins = ["sha256:" + String(repeating: "0a", count: 32), "sha256:" + String(repeating: "f", count: 64)]
    writer.labels = ["env": "a \"quoted\" \\ value", "x": "yes"]
    writer.aws = [("account_id", "001234567890")]
    writer.workgroup = "w"
    writer.resources = [["env": "dev", "team": "a b"], ["*": "*"]]
    for holdsCluster in [false, true] {
      writer.holdsCluster = holdsCluster
      let read = try TeleportConfiguration(yaml: try writer.text(), file: "written")
      #expect(read.databases.first?.labels == writer.labels)
      #expect(read.membership.caPins == writer.caPins)
      #expect(read.databases.first?.accountID == "001234567890")
      #expect(read.databaseMatchers.count == 2)
      #expect(read.isAuthEnabled == holdsCluster)
      #expect(read.isDatabaseEnabled)
      #expect(!holdsCluster || read.webListenAddress == "0.0.0.0:3080")
    }
    writer.holdsCluster = true
    writer.proxy = "[2001:db8::1]:443"
    let read = try TeleportConfiguration(yaml: try writer.text(), file: "written")
    #expect(read.webListenAddress == "0.0.0.0:443")
    #expect(read.publicAddresses == ["[2001:db8::1]:443"])
    writer.proxy = "2001:db8::1:443"
    #expect(throws: ConfigurationError.self) { try writer.text() }
    writer.proxy = "localhost:3080"
    writer.token = "x\nauth_service: {}"
    #expect(throws: ConfigurationError.self) { try writer.text() }
  }
}
