import ArgumentParser
import Glibc
import Simulation

@main struct Simulate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs whole sessions of the real gateway on a simulated kernel, network and clock.",
    subcommands: [Seeds.self, Matrix.self, EveryByte.self], defaultSubcommand: Seeds.self)
}

/// Worlds drawn from seeds, one after the other.
struct Seeds: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Run worlds drawn from seeds.")

  @Option(help: "How many seeds to run.") var seeds = 1000
  @Option(help: "The first seed.") var from: UInt64 = 1
  @Flag(help: "Print every event of every run.") var trace = false
  @Option(help: "Stop after so many seeds that fail.") var failures = 10

  private struct Totals {
    var worlds = 0
    var sessions = 0
    var completed = 0
    var events = 0
    var steps = 0
    var failed = 0
    var elapsed: UInt64 = 0
    var counts = FaultCounts()

    mutating func add(_ outcome: World.Outcome) {
      worlds += 1
      sessions += outcome.sessions
      completed += outcome.completed
      events += outcome.events
      steps += outcome.steps
      elapsed += outcome.elapsed
      counts.add(outcome.counts)
    }
  }

  func run() throws {
    let identities = try Identities()
    let begin = ContinuousClock.now
    var totals = Totals()
    for seed in from..<from + UInt64(max(0, seeds)) {
      let world = try World(.drawn(from: seed), identities)
      world.network.trace.isLoud = trace
      let outcome = try world.run()
      totals.add(outcome)
      if trace {
        for session in world.book.sessions { print("session \(session.number): \(session.summary)") }
        print("trace \(String(outcome.hash, radix: 16)), \(outcome.events) events")
      }
      guard !outcome.violations.isEmpty else { continue }
      totals.failed += 1
      print(
        "seed \(seed) fails (trace \(String(outcome.hash, radix: 16))); make simulate SEEDS=1 FROM=\(seed) replays it")
      for violation in outcome.violations { print("  \(violation)") }
      fflush(nil)
      if totals.failed >= failures { break }
    }
    report(totals, begin.duration(to: .now))
    if totals.failed > 0 { throw ExitCode.failure }
  }

  private func report(_ totals: Totals, _ took: Duration) {
    print(
      "\(totals.worlds) seeds from \(from): \(totals.sessions) sessions, \(totals.completed) of them completed, "
        + "\(totals.failed) seeds failed")
    print(
      "\(totals.events) events in \(totals.steps) turns, \(totals.elapsed / 3_600_000) h of virtual time, in "
        + "\(took / .seconds(1)) s")
    print("faults injected:")
    for fault in Fault.allCases { print("  \(fault.rawValue): \(totals.counts[fault])") }
    print("each checked for:")
    for invariant in Invariants.texts { print("  \(invariant)") }
  }
}

/// The fault matrix, cell by cell.
struct Matrix: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Run the fault matrix: links, faults, phases.")

  func run() throws {
    let identities = try Identities()
    var (failed, count) = (0, 0)
    for wire in FaultMatrix.Wire.allCases {
      for blow in FaultMatrix.Blow.allCases {
        for phase in Phase.allCases {
          let cell = try FaultMatrix.run(wire, blow, phase, identities)
          count += 1
          if !cell.isWithinBound { failed += 1 }
          let time = cell.milliseconds.map { "\(Double($0) / 1000) s" } ?? "not reached"
          print(
            "\(wire.rawValue) | \(blow.rawValue) | \(phase.rawValue) | \(cell.result) | \(time) of \(blow.bound) s"
              + (cell.isWithinBound ? "" : " | FAILS: \(cell.violations)"))
        }
      }
    }
    print("\(count) cells, \(failed) failed; by processes and real sockets instead: \(FaultMatrix.elsewhere)")
    if failed > 0 { throw ExitCode.failure }
  }
}

/// Golden conversations cut, reset and ended at every byte.
struct EveryByte: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Cut golden conversations at every byte of every stream, and break them off there.")

  @Option(help: "Every how many bytes; a large row is cut at every 500th of these places.") var stride = 1

  func run() throws {
    let identities = try Identities()
    var failed = 0
    for conversation in Golden.allCases {
      let sweep = try Sweep(conversation, identities, stride: stride * (conversation == .largeRow ? 500 : 1)).run()
      failed += sweep.failures.count
      print("\(conversation.rawValue): \(sweep.cuts) cuts, \(sweep.breaks) breaks, \(sweep.failures.count) failed")
      for failure in sweep.failures.prefix(10) { print("  \(failure)") }
    }
    if failed > 0 { throw ExitCode.failure }
  }
}
