import Foundation
import TestSupport
import Testing

@testable import AccessControl

/// The evaluator against the naive one, on random role sets: SALLYPORT_ROLE_SETS of them.
struct NaiveEvaluatorTests {
  private static let count = repetitions("SALLYPORT_ROLE_SETS", usually: 100_000)

  @Test func agreesOnRandomRoleSets() {
    var random = RandomAccess(seed: 42)
    var counts: [Naive.Outcome: Int] = [:]
    for _ in 0..<Self.count {
      let roles = random.roles()
      let world = Naive.World(roles: roles, traits: random.traits())
      let access = random.access(wantsReplication: random.isOne(in: 4))
      let checker = AccessChecker(roles: world.roles, traits: world.traits)
      let expected = Naive.outcome(world, access)
      let decided: Naive.Outcome =
        switch checker.decide(access) {
        case .allowed: .allowed
        case .denied: .denied
        case .replicationDenied: .replicationDenied
        }
      guard decided == expected else { return #expect(decided == expected, "\(world) \(access)") }
      guard agreesOnLists(checker, world, access) else {
        return #expect(Bool(false), "listings differ: \(world) \(access)")
      }
      guard agreesOnLimits(checker, world) else { return #expect(Bool(false), "limits or rules differ: \(world)") }
      counts[expected, default: 0] += 1
    }
    // All outcomes were met, and none so often that the others were not tried.
    for outcome in [Naive.Outcome.allowed, .denied] {
      #expect(counts[outcome, default: 0] > Self.count / 20)
    }
    #expect(counts[.replicationDenied, default: 0] > Self.count / 500)
  }

  private func agreesOnLists(_ checker: AccessChecker, _ world: Naive.World, _ access: DatabaseAccess) -> Bool {
    let labels = access.labels
    return checker.canSee(labels: labels) == Naive.canSee(world, labels)
      && checker.allowedUsers(labels: labels) == Naive.listed(world, labels) { $0.databaseUsers }
      && checker.allowedNames(labels: labels) == Naive.listed(world, labels) { $0.databaseNames }
      && checker.spellsOut(access) == spellsOut(world, access)
  }

  /// A role that fits but for its users, and lists the very text, itself or by a trait.
  private func spellsOut(_ world: Naive.World, _ access: DatabaseAccess) -> Bool {
    world.roles.contains { role in
      var open = role
      open.spec.allow.databaseUsers = ["*"]
      open.spec.deny = .init()
      let asked = DatabaseAccess(
        labels: access.labels, databaseName: access.databaseName, databaseUsers: access.databaseUsers)
      let fits = Naive.outcome(.init(roles: [open], traits: world.traits), asked) == .allowed
      let entries = Naive.listed(.init(roles: [role], traits: world.traits), access.labels) { $0.databaseUsers }
      return fits && entries.contains(access.databaseUsers.same[0])
    }
  }

  private func agreesOnLimits(_ checker: AccessChecker, _ world: Naive.World) -> Bool {
    let options = world.roles.map(\.spec.options)
    return checker.maxSessionTTL == Naive.least(options.map(\.maxSessionTTL)) ?? 108_000
      && checker.clientIdleTimeout == Naive.least(options.map(\.clientIdleTimeout))
      && checker.maxConnections == Naive.least(options.map { $0.maxConnections.map { GoDuration(seconds: $0) } })
      && checker.disconnectsExpiredCertificate == options.contains { $0.disconnectExpiredCertificate ?? false }
      && ["role", "user", "lock"].allSatisfy { resource in
        ["list", "create", "delete"].allSatisfy {
          checker.allows($0, on: resource) == Naive.allows(world, $0, on: resource)
        }
      }
  }

  @Test func locksHitWhomTheyName() {
    var random = RandomAccess(seed: 43)
    var hitCount = 0
    let tries = Self.count / 10
    for _ in 0..<tries {
      let (lock, isOver) = random.lock()
      let user = random.one(of: ["alice", "bob"])
      let roles = random.one(of: [["r0"], ["r0", "r1"], []])
      let database: String? = random.one(of: ["dev", "prod", nil])
      let session: String? = random.one(of: ["s", "t", nil])
      let server: String? = random.one(of: ["h", "i", nil])
      let target = lock.spec.target
      let expected = Naive.hits(target, isOver: isOver, user, roles, database, session, server)
      let hits = lock.hits(user: user, roles: roles, database: database, session: session, server: server)
      guard hits == expected else { return #expect(hits == expected, "\(lock)") }
      let isHostAlone = target.fields.keys.sorted() == ["server_id"]
      let hitsHost = !isOver && isHostAlone && target.serverID == "h"
      guard lock.hits(host: "h") == hitsHost else { return #expect(lock.hits(host: "h") == hitsHost, "\(lock)") }
      hitCount += hits ? 1 : 0
    }
    #expect(hitCount > tries / 50)
    #expect(hitCount < tries * 9 / 10)
  }
}
