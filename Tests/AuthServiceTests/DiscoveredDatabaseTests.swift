import ControlAPI
import Testing

@testable import AuthService

/// What discovery groups may do with `db` resources.
struct DiscoveredDatabaseTests {
  private func database(_ name: String, _ labels: [String: String] = [:]) -> DatabaseResource {
    DatabaseResource(name: name, labels: labels, spec: .init(uri: "db.example.com:5439"))
  }

  private func takeUp(
    _ server: AuthServer, _ group: String, _ databases: [DatabaseResource] = [], removed: [String] = []
  ) throws -> [String: String] {
    let request = DiscoveredDatabases(group: group, databases: databases, removed: removed)
    return try server.takeUp(request, by: "host") { database in
      guard database.spec.uri != "bad" else { throw AuthError.invalid("its uri is bad") }
    }.refused
  }

  private func labels(_ server: AuthServer) throws -> [String: [String: String]] {
    Dictionary(uniqueKeysWithValues: try server.databaseResources().map { ($0.name, $0.metadata.labels ?? [:]) })
  }

  @Test func aGroupChangesItsOwnAndNoOthers() async throws {
    try await withServer { server, _ in
      _ = try server.putDatabase(ResourceRequest(resource: database("by-hand"), condition: .absent), by: "admin")
      #expect(try takeUp(server, "a", [database("x", ["env": "dev"]), database("y")]).isEmpty)
      #expect(try takeUp(server, "b", [database("z")]).isEmpty)
      let before = try labels(server)
      #expect(
        before["x"]?["teleport.internal/discovery-group-name"] == "a" && before["x"]?["teleport.dev/origin"] == "cloud")
      // Neither by name nor by a label that the request claims.
      let forged = database("z", ["teleport.internal/discovery-group-name": "b"])
      let refused = try takeUp(server, "a", [forged, database("by-hand")], removed: ["z", "by-hand", "nothing"])
      #expect(Set(refused.keys) == ["z", "by-hand"])
      #expect(try labels(server) == before)
      #expect(try takeUp(server, "a", [database("x", ["env": "prod"])], removed: ["y"]).isEmpty)
      let after = try labels(server)
      #expect(after["x"]?["env"] == "prod")
      #expect(Set(after.keys) == ["x", "z", "by-hand"])
    }
  }

  @Test func whatIsThereAlreadyChangesNothing() async throws {
    try await withServer { server, _ in
      _ = try takeUp(server, "a", [database("x")])
      let before = try server.revision
      _ = try takeUp(server, "a", [database("x")], removed: ["y"])
      let after = try server.revision
      #expect(after == before)
    }
  }

  @Test func oneThatCannotBeServedDoesNotKeepTheOthersOut() async throws {
    try await withServer { server, _ in
      var bad = database("bad")
      bad.spec.uri = "bad"
      let refused = try takeUp(server, "a", [bad, database("../x"), database("good")])
      #expect(refused == ["bad": "its uri is bad", "../x": "it is not a valid name"])
      let known = try labels(server)
      #expect(Array(known.keys) == ["good"])
    }
  }

  @Test func requestsHaveBounds() async throws {
    try await withServer { server, _ in
      #expect(throws: AuthError.self) { try takeUp(server, "no such/group", [database("x")]) }
      let many = (0...DiscoveredDatabases.maximumCount).map { "n\($0)" }
      #expect(throws: AuthError.self) { try takeUp(server, "a", removed: many) }
    }
  }
}
