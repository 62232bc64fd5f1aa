import TestSupport
import Testing

@testable import Reactor

struct TimerWheelTests {
  @Test func agreesWithASortedListOverManyRandomSteps() {
    var random = SeededGenerator(seed: 3)
    var now: UInt64 = 1_000_003
    var wheel = TimerWheel(now: now)
    var model: [UInt64: (deadline: UInt64, id: TimerWheel.ID)] = [:]
    var next: UInt64 = 0
    var fired = 0
    for _ in 0..<200_000 {
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<5:
        let ranges: [ClosedRange<UInt64>] = [0...50, 0...5_000, 0...400_000, 0...90_000_000, 300_000_000...900_000_000]
        let wait = UInt64.random(in: ranges[Int.random(in: 0..<5, using: &random)], using: &random)
        next += 1
        model[next] = (now + wait, wheel.start(owner: Handle(bits: next), tag: 1, deadline: now + wait))
      case 5:
        if let victim = model.keys.min() {
          wheel.cancel(model[victim]?.id ?? wheel.start(owner: Handle(bits: 0), tag: 0, deadline: 0))
          model[victim] = nil
        }
      default:
        if let earliest = model.values.map(\.deadline).min() {
          // Never sleeps past the first deadline by more than the wheel's tick.
          let wait = wheel.wait(now: now)
          guard let wait, now + wait <= max(now, earliest) + 16 else { return #expect(Bool(false), "waits too long") }
        }
        let jumps: [ClosedRange<UInt64>] = [0...20, 0...1_000, 0...1_000_000]
        now += UInt64.random(in: jumps[Int.random(in: 0..<3, using: &random)], using: &random)
        while let (owner, _) = wheel.popExpired(now: now) {
          fired += 1
          guard let entry = model.removeValue(forKey: owner.bits), entry.deadline <= now else {
            return #expect(Bool(false), "fired early, twice or after cancelling")
          }
        }
        guard !model.values.contains(where: { $0.deadline + 16 < now }) else {
          return #expect(Bool(false), "lost a timer")
        }
        guard wheel.count == model.count else { return #expect(wheel.count == model.count) }
      }
      if model.count > 300 {
        for key in model.keys.sorted().prefix(100) {
          if let entry = model.removeValue(forKey: key) { wheel.cancel(entry.id) }
        }
      }
    }
    #expect(fired > 10_000)
  }
}
