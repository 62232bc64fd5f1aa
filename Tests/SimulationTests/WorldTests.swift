import Simulation
import Testing

/// Whole sessions on a simulated kernel: the quick form of `make simulate`.
@Suite(.serialized) struct WorldTests {
  private static let identities = Result { try Identities() }

  @Test func everySeedKeepsTheInvariants() throws {
    let identities = try Self.identities.get()
    var completed = 0
    for seed in UInt64(1)...300 {
      let outcome = try World(.drawn(from: seed), identities).run()
      completed += outcome.completed
      #expect(outcome.violations == [], "make simulate SEEDS=1 FROM=\(seed) replays it")
    }
    // Most worlds let their clients come to the end.
    #expect(completed > 200)
  }

  @Test func aSeedIsReplayedEventByEvent() throws {
    let identities = try Self.identities.get()
    // Keys and certificates of another maker, as in another process.
    let others = try Identities()
    for seed in UInt64(1)...40 {
      let first = try World(.drawn(from: seed), identities).run()
      let second = try World(.drawn(from: seed), others).run()
      #expect(first.hash == second.hash, "seed \(seed)")
      #expect(first.events == second.events && first.steps == second.steps)
    }
  }
}
