import ArgumentParser
import Foundation
import Simulation

/// `make simulate SEEDS=N FROM=K`: so many worlds, one after the other.
@main struct Simulate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs whole sessions of the real gateway on a simulated kernel, network and clock.")

  @Option(help: "How many seeds to run.") var seeds = 1000
  @Option(help: "The first seed.") var from: UInt64 = 1
  @Flag(help: "Print every event of every run.") var trace = false
  @Option(help: "Stop after so many seeds that fail.") var failures = 10

  func run() throws {
    let identities = try Identities()
    let begin = ContinuousClock.now
    var (worlds, sessions, completed, events, steps, failed) = (0, 0, 0, 0, 0, 0)
    var virtual: UInt64 = 0
    var counts = FaultCounts()
    for seed in from..<from + UInt64(max(0, seeds)) {
      let world = try World(.drawn(from: seed), identities)
      world.network.trace.isLoud = trace
      let outcome = try world.run()
      worlds += 1
      sessions += outcome.sessions
      completed += outcome.completed
      events += outcome.events
      steps += outcome.steps
      virtual += outcome.elapsed
      counts.add(outcome.counts)
      if trace { for session in world.book.sessions { print("session \(session.number): \(session.summary)") } }
      if trace { print("trace \(String(outcome.hash, radix: 16)), \(outcome.events) events") }
      guard !outcome.violations.isEmpty else { continue }
      failed += 1
      print("seed \(seed) fails (trace \(String(outcome.hash, radix: 16))); make simulate SEEDS=1 FROM=\(seed) replays it")
      for violation in outcome.violations { print("  \(violation)") }
      if failed >= failures { break }
    }
    let took = begin.duration(to: .now)
    print("\(worlds) seeds from \(from): \(sessions) sessions, \(completed) of them completed, \(failed) seeds failed")
    print("\(events) events in \(steps) turns, \(virtual / 3_600_000) h of virtual time, in \(took / .seconds(1)) s")
    for fault in Fault.allCases { print("  \(fault.rawValue): \(counts.counts[fault] ?? 0)") }
    print("each checked for:")
    for invariant in Invariants.texts { print("  \(invariant)") }
    if failed > 0 { throw ExitCode.failure }
  }
}
