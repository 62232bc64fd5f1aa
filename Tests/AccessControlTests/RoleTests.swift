import Foundation
import Testing

@testable import AccessControl

struct RoleTests {
  @Test(arguments: [
    #"{"kind":"role","version":"v5","metadata":{"name":"x"},"spec":{"allow":{"db_user":["a"]}}}"#,
    #"{"kind":"role","version":"v9","metadata":{"name":"x"},"spec":{}}"#,
    #"{"kind":"user","version":"v5","metadata":{"name":"x"},"spec":{}}"#,
    #"{"kind":"role","version":"v5","metadata":{"name":"../x"},"spec":{}}"#,
    #"{"kind":"role","version":"v5","metadata":{"name":"x"},"spec":{"allow":{"db_users":["^($"]}}}"#,
    #"{"kind":"role","version":"v5","metadata":{"name":"x"},"spec":{"options":{"max_session_ttl":"soon"}}}"#,
    #"{"kind":"role","version":"v5","metadata":{"name":"x"},"spec":{"allow":{"db_labels":{"*":"a"}}}}"#,
  ])
  func badRolesAreRefused(json: String) {
    #expect(throws: (any Error).self) { try JSONDecoder().decode(Role.self, from: Data(json.utf8)) }
  }

  @Test func guidesRoleRoundTrips() throws {
    let json = #"""
      {"kind":"role","version":"v5","metadata":{"name":"redshift-serverless-access"},"spec":{"allow":
      {"db_labels":{"*":"*"},"db_names":["dev"],"db_users":["teleport-redshift-serverless-access"],"logins":["root"]}}}
      """#
    let role = try JSONDecoder().decode(Role.self, from: Data(json.utf8))
    #expect(try JSONDecoder().decode(Role.self, from: JSONEncoder().encode(role)) == role)
  }

  private func load(_ side: String) throws -> Role {
    try JSONDecoder().decode(
      Role.self,
      from: Data(#"{"kind":"role","version":"v5","metadata":{"name":"x"},"spec":{\#(side)}}"#.utf8))
  }

  /// What narrows access to databases and is not enforced must not look as if it were.
  @Test(arguments: [
    #""options":{"require_session_mfa":true}"#, #""options":{"require_session_mfa":"hardware_key"}"#,
    #""options":{"require_session_mfa":1}"#, #""options":{"lock":"strict"}"#, #""options":{"pin_source_ip":"yes"}"#,
    #""options":{"device_trust_mode":"required"}"#,
    #""options":{"create_db_user":true}"#, #""options":{"create_db_user_mode":"keep"}"#,
    #""options":{"request_access":"always"}"#, #""allow":{"db_labels_expression":"labels[\"a\"] == \"b\""}"#,
    #""deny":{"db_labels_expression":"true"}"#, #""allow":{"db_roles":["reader"]}"#,
    #""deny":{"db_permissions":[{"match":{"*":"*"}}]}"#, #""allow":{"require_session_join":[{"name":"a"}]}"#,
    #""allow":{"rules":[{"resources":["user"],"verbs":["list"],"where":"user.metadata.name == \"a\""}]}"#,
  ])
  func restrictionsThatAreNotEnforcedAreRefused(side: String) throws {
    let error = #expect(throws: RoleError.self) { try load(side) }
    #expect(error?.description.contains("is not enforced") == true)
  }

  @Test(arguments: [("3", 3), (#""3""#, 3), ("0", nil), ("null", nil)])
  func numbersOfSessions(written: String, bound: Int?) throws {
    let role = try load(#""options":{"max_connections":\#(written)}"#)
    #expect(AccessChecker(roles: [role], traits: [:]).maxConnections == bound)
  }

  @Test(arguments: ["-1", #""many""#, "1000001", "1.5", "[]"])
  func numbersOfSessionsThatMakeNoSense(written: String) throws {
    let error = #expect(throws: RoleError.self) { try load(#""options":{"max_connections":\#(written)}"#) }
    #expect(error?.description.contains("'max_connections' must be a number") == true)
  }

  @Test func theSmallestNumberOfSessionsCounts() {
    func role(_ bound: Int?) -> Role { Role(name: "x", spec: .init(options: .init(maxConnections: bound))) }
    #expect(AccessChecker(roles: [role(5), role(nil), role(2), role(0)], traits: [:]).maxConnections == 2)
  }

  @Test func roleThatExpiresIsRefused() {
    let json = #"{"kind":"role","version":"v5","metadata":{"name":"x","expires":"2030-01-01T00:00:00Z"},"spec":{}}"#
    #expect(throws: RoleError.self) { try JSONDecoder().decode(Role.self, from: Data(json.utf8)) }
  }

  /// Roles as Teleport exports them state their defaults, and have a good deal of other protocols in them.
  @Test(arguments: [
    #""options":{"require_session_mfa":false,"lock":"best_effort","pin_source_ip":"no","max_connections":0}"#,
    #""options":{"require_session_mfa":"off","lock":"","device_trust_mode":"optional","request_access":"optional"}"#,
    #""options":{"create_db_user":false,"create_db_user_mode":"off","lock":null}"#,
    #""options":{"cert_format":"standard","record_session":{"desktop":true},"forward_agent":true,"max_sessions":5}"#,
    #""allow":{"db_labels_expression":"","db_roles":[],"db_permissions":null,"require_session_join":[]}"#,
    #""allow":{"logins":["root"],"kubernetes_groups":["a"],"node_labels":{"*":"*"},"request":{"roles":["b"]}}"#,
    #""allow":{"rules":[{"resources":["user"],"verbs":["list"],"where":""}]}"#,
  ])
  func harmlessDefaultsAndOtherProtocolsAreAccepted(side: String) throws { _ = try load(side) }

  @Test(arguments: [
    ("true", true), ("false", false), (#""yes""#, true), (#""No""#, false), (#""ON""#, true), (#""off""#, false),
    (#""True""#, true), ("null", nil),
  ])
  func booleans(written: String, read: Bool?) throws {
    let role = try load(#""options":{"disconnect_expired_cert":\#(written)}"#)
    #expect(role.spec.options.disconnectExpiredCertificate == read)
  }

  @Test(arguments: [#""ture""#, #""""#, "1", #""y""#, "[true]", "{}"])
  func notBooleans(written: String) {
    for key in [#""options":{"disconnect_expired_cert":\#(written)}"#, #""allow":{"db_replication":\#(written)}"#] {
      #expect(throws: (any Error).self) { try load(key) }
    }
  }

  @Test(arguments: [("30h0m0s", 108_000), ("90m", 5400), ("1h30m", 5400), ("never", 0), ("45s", 45), ("2d", 172_800)])
  func durations(text: String, seconds: Int) { #expect(GoDuration(text)?.seconds == seconds) }

  @Test(arguments: ["", "h", "1", "1x", "-1h", "1e9h", "99999999999999999999h", "1h "])
  func notDurations(text: String) { #expect(GoDuration(text) == nil) }
}
