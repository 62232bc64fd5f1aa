import AccessControl
import ControlAPI
import Foundation
import PKI
import Testing

@testable import AuthService

@Suite(.serialized) struct ExplainTests {
  private let knowledge = DatabaseKnowledge(
    spellings: { user, _ in DatabaseUserSpellings([user]) },
    roleChain: { user, _, database in
      guard user != "elsewhere" else { throw AuthError.invalid("of another account", hint: "use one of this") }
      return RoleChain(
        roles: [user], account: database.accountID ?? "", region: "r", workgroup: "w", databaseUser: "IAMR:\(user)")
    }, check: { _ in })

  private func fill(_ server: AuthServer) throws {
    let role = Role(
      name: "dev",
      spec: .init(
        allow: .init(databaseLabels: ["env": ["dev"]], databaseNames: ["dev"], databaseUsers: ["reader", "elsewhere"])))
    _ = try server.putRole(ResourceRequest(resource: role, condition: .absent), by: "test")
    _ = try server.addUser(UserListing(name: "alice", roles: ["dev"], traits: [:]), by: "test")
    let record = DatabaseRecord(
      name: "redshift", description: "", protocol: "postgres", uri: "h:1", labels: ["env": "dev"], accountID: "1",
      region: "r")
    try server.heartbeat(
      HostHeartbeat(proxyAddress: nil, databases: [record]),
      of: HostIdentity(hostID: "host", name: "host", services: [.database], clusterName: "test"))
  }

  private func explain(
    _ server: AuthServer, user: String = "alice", database: String = "redshift", as databaseUser: String = "reader",
    name: String = "dev"
  ) throws -> ExplainResponse {
    try server.explain(
      ExplainRequest(
        user: user, database: database, databaseUser: databaseUser, databaseName: name, wantsReplication: false),
      knowledge)
  }

  @Test func itSaysWhatTheSessionWouldMeet() async throws {
    try await withServer { server, _ in
      try fill(server)
      let allowed = try explain(server)
      #expect(allowed.allowed && allowed.problems.isEmpty && allowed.mends.isEmpty)
      #expect(allowed.aws?.databaseUser == "IAMR:reader")
      let identity = UserIdentity(username: "alice", roles: ["dev"], clusterName: "test")
      for (databaseUser, name) in [("reader", "dev"), ("reader", "prod"), ("writer", "dev"), ("writer", "prod")] {
        let decision = try server.checker(for: identity).decide(
          DatabaseAccess(labels: ["env": "dev"], databaseName: name, databaseUsers: .init([databaseUser])))
        #expect(try explain(server, as: databaseUser, name: name).allowed == (decision == .allowed))
      }
    }
  }

  @Test func eachObstacleIsNamed() async throws {
    try await withServer { server, _ in
      try fill(server)
      #expect(try explain(server, user: "nobody").problems == ["user 'nobody' does not exist"])
      #expect(try explain(server, database: "other").problems == ["no Database Service serves 'other' now"])
      let elsewhere = try explain(server, as: "elsewhere")
      #expect(!elsewhere.allowed)
      #expect(elsewhere.problems.count == 1 && elsewhere.problems[0].contains("of another account"))
      #expect(elsewhere.mends == ["use one of this"])
      let lock = Lock(name: "l", spec: .init(target: .init(user: "alice", db: "redshift"), message: "away"))
      _ = try server.putLock(ResourceRequest(resource: lock, condition: .absent), by: "test")
      let locked = try explain(server)
      #expect(!locked.allowed && locked.locks == ["l"] && locked.mends == ["remove the lock: tctl rm lock/l"])
      #expect(try explain(server, database: "other").locks.isEmpty)
    }
  }

  @Test func aDynamicDatabaseThatNobodyServesIsTold() async throws {
    try await withServer { server, _ in
      try fill(server)
      let resource = DatabaseResource(name: "idle", labels: ["env": "prod"], spec: .init(uri: "h:1"))
      _ = try server.putDatabase(ResourceRequest(resource: resource, condition: .absent), by: "test")
      let answer = try explain(server, database: "idle")
      #expect(!answer.allowed)
      #expect(answer.mends.contains { $0.contains("db_service.resources") && $0.contains("env=prod") })
    }
  }
}
