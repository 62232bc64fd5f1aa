import Foundation
import Testing

@testable import AccessControl

private func decoded(_ json: String) throws -> Lock { try JSONDecoder().decode(Lock.self, from: Data(json.utf8)) }

private func lock(_ target: Lock.Target, expires: Date? = nil) -> Lock {
  Lock(name: "l", spec: .init(target: target, message: "gone", expires: expires))
}

struct LockTests {
  @Test func allFieldsOfATargetMustFit() {
    func hits(_ target: Lock.Target, database: String? = "db") -> Bool {
      lock(target).hits(user: "alice", roles: ["dev", "ops"], database: database)
    }
    #expect(hits(.init(user: "alice")))
    #expect(!hits(.init(user: "bob")))
    #expect(hits(.init(role: "ops")))
    #expect(!hits(.init(role: "op")))
    #expect(hits(.init(db: "db")))
    #expect(!hits(.init(db: "other")))
    // A lock on a database alone keeps nobody from the cluster itself.
    #expect(!hits(.init(db: "db"), database: nil))
    #expect(hits(.init(user: "alice", role: "dev", db: "db")))
    #expect(!hits(.init(user: "alice", role: "dev", db: "other")))
    #expect(!hits(.init(user: "alice", role: "none")))
  }

  @Test func aLockEndsAtItsTime() {
    let target = Lock.Target(user: "alice")
    #expect(lock(target, expires: Date() + 60).hits(user: "alice", roles: [], database: nil))
    #expect(!lock(target, expires: Date() - 1).hits(user: "alice", roles: [], database: nil))
    #expect(!lock(target).isOver(at: .distantFuture))
  }

  @Test func whatIsStoredReadsBack() throws {
    let original = lock(.init(user: "alice", db: "db"), expires: Date() + 60)
    let copy = try JSONDecoder().decode(Lock.self, from: JSONEncoder().encode(original))
    #expect(copy == original)
    #expect(copy.notice == "locked out by lock 'l': gone")
  }

  @Test(arguments: [
    (#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{}}}"#, "needs a target"),
    (#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{"mfa_device":"x"}}}"#, "unknown key 'mfa_device'"),
    (#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{"user":"a","users":"x"}}}"#, "did you mean 'user'"),
    (#"{"kind":"lock","metadata":{"name":"../l"},"spec":{"target":{"user":"a"}}}"#, "lock name"),
    (#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{"user":"a/b"}}}"#, "not a valid name"),
    (#"{"kind":"lock","metadata":{"name":"l"},"spec":{"target":{"user":"a"},"expires":"soon"}}"#, "not a time"),
    (#"{"kind":"lock","version":"v9","metadata":{"name":"l"},"spec":{"target":{"user":"a"}}}"#, "use v2"),
    (#"{"kind":"role","metadata":{"name":"l"},"spec":{"target":{"user":"a"}}}"#, "not 'lock'"),
  ])
  func whatCannotBeHonouredIsRefused(json: String, complaint: String) {
    let error = #expect(throws: RoleError.self) { try decoded(json) }
    #expect(error?.description.contains(complaint) == true)
  }
}
