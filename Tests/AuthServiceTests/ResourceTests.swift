import AccessControl
import Audit
import ControlAPI
import Foundation
import PKI
import Secrets
import Testing

@testable import AuthService

/// What `tctl` lists it puts back unchanged, and what has changed meanwhile is not overwritten.
@Suite(.serialized) struct ResourceTests {
  private func request<Resource: ClusterResource>(
    _ resource: Resource, _ condition: WriteCondition = .absent
  ) -> ResourceRequest<Resource> { ResourceRequest(resource: resource, condition: condition) }

  private let database = DatabaseResource(
    name: "db1", labels: ["env": "dev"],
    spec: .init(uri: "db.example.com:5432", aws: .init(region: "us-east-1", accountID: "012345678901")))

  /// Lists, puts back what was listed by force, and lists again.
  private func roundTrip<Resource: ManagedResource>(
    _ type: Resource.Type, _ server: AuthServer, withSecrets: Bool = false
  ) throws {
    func texts() throws -> [String] {
      let encoder = JSONEncoder()
      encoder.outputFormatting = .sortedKeys
      return try Resource.list(of: server, withSecrets: withSecrets).map {
        String(decoding: try encoder.encode($0), as: UTF8.self)
      }
    }
    let before = try texts()
    #expect(!before.isEmpty)
    for text in before {
      let resource = try JSONDecoder().decode(Resource.self, from: Data(text.utf8))
      #expect(try Resource.put(request(resource, .any), to: server, by: "test").replaced)
      #expect(try Resource.put(request(resource, .unchanged), to: server, by: "test").replaced)
    }
    #expect(try texts() == before)
  }

  @Test func everyKindSurvivesARoundTrip() async throws {
    try await withServer { server, _ in
      _ = try server.addUser(
        UserListing(name: "alice", roles: ["access"], traits: ["db_users": ["a", "b"], "empty": []]), by: "test")
      _ = try server.addToken(TokenRequest(roles: ["db", "proxy"], ttlSeconds: 600), by: "test")
      _ = try server.putDatabase(request(database), by: "test")
      _ = try server.putLock(
        request(Lock(name: "l", spec: .init(target: .init(user: "bob"), expires: Date() + 600))), by: "test")
      // The label that tells where it comes from is no longer "defaults" once it has been set.
      _ = try server.putAuthPreference(request(AuthPreference(secondFactor: .off, origin: "")), by: "test")
      try roundTrip(Role.self, server)
      try roundTrip(UserResource.self, server)
      try roundTrip(TokenResource.self, server)
      try roundTrip(TokenResource.self, server, withSecrets: true)
      try roundTrip(DatabaseResource.self, server)
      try roundTrip(AuthPreference.self, server)
      try roundTrip(Lock.self, server)
    }
  }

  @Test func whatHasChangedMeanwhileIsNotOverwritten() async throws {
    try await withServer { server, _ in
      _ = try server.putRole(request(Role(name: "r", spec: .init())), by: "test")
      var mine = try #require(try Role.list(of: server, withSecrets: false).first { $0.name == "r" })
      mine.spec.allow.databaseNames = ["mine"]
      var other = mine
      other.spec.allow.databaseNames = ["other"]
      _ = try server.putRole(request(other, .any), by: "test")
      #expect(throws: AuthError.self) { try server.putRole(request(mine, .unchanged), by: "test") }
      mine.revision = nil
      #expect(throws: AuthError.self) { try server.putRole(request(mine, .unchanged), by: "test") }
      try server.removeRole("r", by: "test")
      mine.revision = other.revision
      let error = #expect(throws: AuthError.self) { try server.putRole(request(mine, .unchanged), by: "test") }
      #expect(error?.status == 404)
      #expect(try server.roles().allSatisfy { $0.name != "r" && $0.revision == nil })
    }
  }

  @Test func aUserMadeFromAResourceHasNoPasswordAndKeepsTheOneSet() async throws {
    try await withServer { server, _ in
      let alice = UserResource(name: "alice", spec: .init(roles: ["access"], traits: ["db_users": ["a"]]))
      #expect(try !server.putUser(request(alice), by: "test").replaced)
      #expect(throws: AuthError.self) { try server.putUser(request(alice), by: "test") }
      #expect(try server.user("alice")?.password == nil)
      let invite = try server.resetUser("alice", lifetime: 120, by: "test")
      #expect(abs(invite.expires.timeIntervalSinceNow - 120) < 5)
      _ = try server.acceptInvite(
        String(invite.url.split(separator: "/").last ?? ""), password: Secret(utf8: "correct horse battery"))
      var changed = alice
      changed.spec.roles = ["editor"]
      _ = try server.putUser(request(changed, .any), by: "test")
      #expect(try server.user("alice")?.roles == ["editor"])
      #expect(try server.user("alice")?.password != nil)
      changed.spec.roles = ["nothing"]
      #expect(throws: AuthError.self) { try server.putUser(request(changed, .any), by: "test") }
      #expect(throws: AuthError.self) { try server.resetUser("alice", lifetime: 59, by: "test") }
    }
  }

  @Test func aTokenIsStoredAsItsHashOnlyWhateverItIsNamedBy() async throws {
    try await withServer { server, _ in
      func token(_ name: String) -> TokenResource {
        TokenResource(name: name, expires: Date() + 600, spec: .init(roles: ["db"]))
      }
      let secret = "a-token-that-is-long-enough"
      let hash = OneTimeSecret.hash(secret)
      let answer = try server.putToken(request(token(secret)), by: "test")
      #expect(answer.name == String(hash.prefix(12)))
      #expect(try TokenResource.list(of: server, withSecrets: false).map(\.name) == [answer.name])
      #expect(try TokenResource.list(of: server, withSecrets: true).map(\.name) == ["sha256:\(hash)"])
      try server.join(service: "db", token: secret)
      // The beginning of a hash means a token that is there, and makes none.
      #expect(try server.putToken(request(token(answer.name), .any), by: "test").replaced)
      try server.removeToken(answer.name, by: "test")
      #expect(throws: AuthError.self) { try server.putToken(request(token(answer.name), .any), by: "test") }
      _ = try server.putToken(request(token("sha256:\(hash)")), by: "test")
      #expect(throws: AuthError.self) { try server.putToken(request(token(secret)), by: "test") }
      var over = token("another-token-long-enough")
      over.metadata = .init(name: over.name, expires: Date() - 5)
      #expect(throws: AuthError.self) { try server.putToken(request(over), by: "test") }
    }
  }

  @Test(arguments: [
    "short", "0123456789abcdeg!", "sha256:0123", "with blanks in the middle", String(repeating: "x", count: 513),
  ])
  func tokensThatCouldBeGuessedAreRefused(name: String) throws {
    let json = """
      {"kind":"token","version":"v2","metadata":{"name":"\(name)","expires":"2999-01-01T00:00:00Z"},"spec":{"roles":["Db"]}}
      """
    guard name.hasPrefix("0123") else {
      let error = #expect(throws: RoleError.self) {
        try JSONDecoder().decode(TokenResource.self, from: Data(json.utf8))
      }
      // The name is the secret.
      #expect(error?.description.contains(name) == false)
      return
    }
    #expect(try JSONDecoder().decode(TokenResource.self, from: Data(json.utf8)).spec.roles == ["db"])
  }

  @Test func databasesAreSharedWithHostsAndCountAsAChange() async throws {
    try await withServer { server, _ in
      let before = try server.revision
      _ = try server.putDatabase(request(database), by: "test")
      #expect(try server.revision > before)
      #expect(try await server.snapshot(after: 0, waiting: 0).databases == [database])
      #expect(throws: AuthError.self) { try server.putDatabase(request(database), by: "test") }
      let made = try server.revision
      try server.removeDatabase("db1", by: "test")
      #expect(try server.revision > made)
      #expect(try await server.snapshot(after: 0, waiting: 0).databases == [])
      #expect(throws: AuthError.self) { try server.removeDatabase("db1", by: "test") }
    }
  }
}
