import AccessControl
import Audit
import ControlAPI
import Foundation
import PKI
import StateStore
import Testing

@testable import AuthService

@Suite(.serialized) struct LocksOfTheClusterTests {
  private func lock(_ name: String, user: String, expires: Date? = nil) -> ResourceRequest<Lock> {
    ResourceRequest(
      resource: Lock(name: name, spec: .init(target: .init(user: user), message: "gone", expires: expires)),
      condition: .absent)
  }

  @Test func aLockShutsOutUntilItIsRemovedAndCountsAsAChange() async throws {
    try await withServer { server, _ in
      _ = try server.addUser(UserListing(name: "alice", roles: ["access"], traits: [:]), by: "test")
      let identity = UserIdentity(username: "alice", roles: ["access"], clusterName: "test")
      let before = try server.revision
      _ = try server.putLock(lock("l", user: "alice"), by: "test")
      #expect(try server.revision > before)
      #expect(try await server.snapshot(after: 0, waiting: 0).locks.map(\.metadata.name) == ["l"])
      let error = #expect(throws: AuthError.self) { try server.checker(for: identity) }
      #expect(error?.status == 403)
      #expect(error?.description == "locked out by lock 'l': gone")
      #expect(throws: AuthError.self) { try server.putLock(lock("l", user: "bob"), by: "test") }
      try server.removeLock("l", by: "test")
      _ = try server.checker(for: identity)
      #expect(throws: AuthError.self) { try server.removeLock("l", by: "test") }
    }
  }

  @Test func locksThatAreOverVanish() async throws {
    try await withServer { server, _ in
      let past = lock("past", user: "alice", expires: Date() - 5)
      #expect(throws: AuthError.self) { try server.putLock(past, by: "test") }
      _ = try server.putLock(lock("short", user: "alice", expires: Date() + 2), by: "test")
      #expect(try server.locks().count == 1)
      try await Task.sleep(for: .seconds(2.1))
      #expect(try server.locks().isEmpty)
      _ = try server.putLock(lock("next", user: "alice"), by: "test")
      let stored = try server.state.database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM lock") }
      #expect(stored == 1)
    }
  }

  @Test func theLocalAdministratorCannotBeLockedOut() async throws {
    try await withServer { server, _ in
      let everyEditor = Lock(name: "l", spec: .init(target: .init(role: "editor")))
      _ = try server.putLock(ResourceRequest(resource: everyEditor, condition: .absent), by: "test")
      let identity = UserIdentity(
        username: AuthServer.localAdministrator, roles: ["editor"], clusterName: "test")
      #expect(try server.checker(for: identity).allows("delete", on: "lock"))
    }
  }
}
