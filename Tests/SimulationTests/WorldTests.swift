import Reactor
import Simulation
import Testing

private struct Weak<Object: AnyObject> {
  weak var object: Object?
}

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

  @Test func nothingIsLeftOfAWorld() throws {
    let identities = try Self.identities.get()
    for seed in UInt64(1)...40 {
      var reactors: [Weak<Reactor>] = []
      try {
        let world = try World(.drawn(from: seed), identities)
        reactors = world.reactors.map { Weak(object: $0) }
        _ = try world.run()
      }()
      #expect(!reactors.isEmpty && reactors.allSatisfy { $0.object == nil }, "seed \(seed)")
    }
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

@Suite(.serialized) struct GoldenTests {
  /// `make simulate-every-byte` does it at every byte.
  @Test(arguments: Golden.allCases) func cutsChangeNothing(conversation: Golden) throws {
    let sweep = try Sweep(conversation, Identities(), stride: conversation == .largeRow ? 20_011 : 211).run()
    #expect(sweep.cuts > 10 && sweep.breaks > 10)
    #expect(sweep.failures == [])
  }

  @Test func conversationsAreWhatTheirNamesSay() throws {
    let identities = try Identities()
    #expect(try Golden.rowOfTwoRecords.run(identities).answers.count > 20_000)
    #expect(try Golden.largeRow.run(identities).answers.count > 100_000)
    let cancelled = try Golden.cancel.run(identities)
    #expect(String(decoding: cancelled.answers, as: UTF8.self).contains("57014"))
    #expect(try Golden.copyIn.run(identities).requests.count > 300)
  }
}

@Suite(.serialized) struct FaultMatrixTests {
  @Test(arguments: FaultMatrix.Wire.allCases, FaultMatrix.Blow.allCases)
  func everyPhaseEndsWithinItsBound(wire: FaultMatrix.Wire, blow: FaultMatrix.Blow) throws {
    let identities = try Identities()
    for phase in Phase.allCases {
      let cell = try FaultMatrix.run(wire, blow, phase, identities)
      #expect(cell.isWithinBound, "\(cell)")
    }
  }
}

/// The simulation's own judge has to see what is wrong, or it proves nothing.
struct VerdictTests {
  private func violations(_ change: (Book, SessionRecord, DatabaseRecord) -> Void) throws -> [String] {
    let world = try World(Self.plan, Identities())
    return try world.run { book in
      let session = book.sessions[0]
      change(book, session, session.databases[0])
    }.violations
  }

  private static var plan: WorldPlan {
    var plan = WorldPlan(seed: 3)
    var client = ClientPlan()
    client.requests = [.rows(2, size: 10)]
    plan.clients = [client]
    return plan
  }

  @Test func whatIsRightPasses() throws { #expect(try violations { _, _, _ in } == []) }

  @Test func aByteThatDiffersIsSeen() throws {
    #expect(try !violations { _, session, _ in session.clientReceived[7] ^= 1 }.isEmpty)
    #expect(try !violations { _, _, database in database.received[3] ^= 1 }.isEmpty)
  }

  @Test func aByteThatIsMissingIsSeen() throws {
    #expect(try !violations { _, session, _ in session.clientReceived.removeLast() }.isEmpty)
    #expect(try !violations { _, _, database in database.received.removeAll() }.isEmpty)
  }

  @Test func aByteTooMuchIsSeen() throws {
    #expect(try !violations { _, session, _ in session.clientReceived.append(0x5a) }.isEmpty)
    #expect(try !violations { _, _, database in database.received.append(0x58) }.isEmpty)
  }

  @Test func aCancelOfNobodyIsSeen() throws {
    let outcome = try violations { _, session, database in
      session.mayBeCancelled = false
      database.cancels = 1
    }
    #expect(!outcome.isEmpty)
  }

  @Test func recordsThatDoNotAddUpAreSeen() throws {
    #expect(try !violations { book, _, _ in book.grants[book.grantNames[0]]?.ends = 0 }.isEmpty)
    #expect(try !violations { book, _, _ in book.grants[book.grantNames[0]]?.starts = 2 }.isEmpty)
  }
}
