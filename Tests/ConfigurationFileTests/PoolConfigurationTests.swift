import AccessControl
import ControlAPI
import Foundation
import Testing

@testable import ConfigurationFile

@Suite struct PoolConfigurationTests {
  private func database(_ pool: String) throws -> DatabaseConfiguration {
    let text = """
      db_service:
        enabled: "yes"
        databases:
        - name: one
          protocol: postgres
          uri: localhost:5439
          pool: \(pool)
      """
    let section = try YAMLSection(text: text, file: "f").section("db_service")?.sections("databases").first
    return try DatabaseConfiguration(#require(section))
  }

  private func resource(_ pool: String) throws -> DatabaseConfiguration {
    let text = """
      {"kind": "db", "version": "v3", "metadata": {"name": "one"},
       "spec": {"protocol": "postgres", "uri": "localhost:5439", "pool": \(pool)}}
      """
    return try DatabaseConfiguration(JSONDecoder().decode(DatabaseResource.self, from: Data(text.utf8)))
  }

  @Test func fileAndResourceSayTheSame() throws {
    let file = try database(
      """
      {mode: transaction, pool_size: 7, max_db_connections: 9, server_idle_timeout: 90s, server_lifetime: 1h,
            server_reset_query: RESET ALL, server_reset_query_always: yes, server_check_delay: 0s, query_wait_timeout: 5s,
            max_waiting_clients: 3, max_prepared_statements: 50}
      """)
    let resource = try resource(
      """
      {"mode": "transaction", "pool_size": 7, "max_db_connections": 9, "server_idle_timeout": "90s",
       "server_lifetime": "1h", "server_reset_query": "RESET ALL", "server_reset_query_always": true,
       "server_check_delay": "0s", "query_wait_timeout": "5s", "max_waiting_clients": 3, "max_prepared_statements": 50}
      """)
    #expect(file.pool == resource.pool)
    #expect(file.pool?.idleTimeout == 90 && file.pool?.lifetime == 3600 && file.pool?.checkDelay == 0)
    #expect(file.pool?.maximumStatements == 50 && file.pool?.resetsAlways == true && file.pool?.size == 7)
  }

  @Test func nothingIsSaidByDefault() throws {
    #expect(try database("{mode: session}").pool?.resetQuery == nil)
    #expect(try database("{mode: session, server_reset_query: ''}").pool?.resetQuery == "")
    #expect(try database("~").pool == nil)
  }

  @Test(arguments: [
    ("{}", "'mode' must be session or transaction"),
    ("{mode: statement}", "'mode' must be session or transaction"),
    ("{mode: session, pool_size: 0}", "'pool_size' must be from 1 to 10000"),
    ("{mode: session, pool_size: many}", "'pool_size' must be a number"),
    ("{mode: session, server_lifetime: 25h}", "'server_lifetime' must be from 1s to 24h"),
    ("{mode: session, server_idle_timeout: soon}", "'server_idle_timeout' must be a duration such as 90s, 10m or 1h"),
    ("{mode: session, default_pool_size: 3}", "unknown key 'default_pool_size' (did you mean 'pool_size'?)"),
  ])
  func mistakesAreNamed(pool: String, complaint: String) {
    do {
      _ = try database(pool)
      Issue.record("\(pool) is taken")
    } catch {
      #expect("\(error)".hasSuffix(complaint) && "\(error)".hasPrefix("f:"), "\(error)")
    }
  }

  @Test func mistakesInResourcesAreNamedWithTheirPlace() {
    #expect(throws: RoleError.self) { try resource(#"{"mode": "session", "pool_size": 0}"#) }
    #expect(throws: RoleError.self) { try resource(#"{"mode": "session", "size": 1}"#) }
  }

  @Test func resourcesSurviveTheirWayThroughJSON() throws {
    let text =
      #"{"kind":"db","version":"v3","metadata":{"name":"one"},"spec":{"protocol":"postgres","uri":"h:1","#
      + #""pool":{"mode":"session","server_lifetime":"30m"}}}"#
    let resource = try JSONDecoder().decode(DatabaseResource.self, from: Data(text.utf8))
    let again = try JSONDecoder().decode(DatabaseResource.self, from: JSONEncoder().encode(resource))
    #expect(again == resource && again.spec.pool?.lifetime?.seconds == 1800)
  }
}
