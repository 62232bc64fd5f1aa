import Dispatch
import Foundation
import Synchronization
import Testing

@testable import AWS

/// A cache of numbers on a clock of the test's own.
private final class Fixture: Sendable {
  let made = Atomic<Int>(0)
  let environment: AWSEnvironment
  let cache: ExpiringCache<String, Int>

  init() {
    let time = Time()
    environment = AWSEnvironment(
      variables: ["HOME": "/nonexistent"], transport: NoTransport(),
      now: { Date(timeIntervalSince1970: time.value.withLock { $0 }) }, uptime: { time.value.withLock { $0 } })
    cache = ExpiringCache("a number", environment, maximumEntries: 2, joinLimit: 20)
    clock = time
  }

  private let clock: Time

  private final class Time: Sendable { let value = Mutex<TimeInterval>(1_000_000) }
  private struct NoTransport: HTTPTransport {
    func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer { throw AWSError("Timeout", "") }
  }

  func advance(_ seconds: TimeInterval) { clock.value.withLock { $0 += seconds } }

  /// A maker of the next number, good for 900 s.
  func next(failing: Bool = false) -> ExpiringCache<String, Int>.Make {
    { [self] in
      let number = made.wrappingAdd(1, ordering: .relaxed).newValue
      if failing { throw AWSError("Timeout", "no answer") }
      let now = environment.clock.now
      return .init(number, Validity(until: now + 900, from: now))
    }
  }

  func value(_ key: String = "a", failing: Bool = false) async throws -> Int {
    try await cache.value(for: key, make: next(failing: failing)).value
  }

  func waitUntilMade(_ count: Int) async throws {
    for _ in 0..<500 where made.load(ordering: .relaxed) < count { try await Task.sleep(for: .milliseconds(10)) }
    #expect(made.load(ordering: .relaxed) == count)
  }
}

private final class Shared: Sendable {
  let value: Atomic<Int>
  init(_ value: Int) { self.value = Atomic(value) }
}

struct ExpiringCacheTests {
  @Test func aNewOneIsMadeAheadOfTheEndWhileTheOldOneServes() async throws {
    let fixture = Fixture()
    #expect(try await fixture.value() == 1)
    fixture.advance(440)
    #expect(try await fixture.value() == 1)
    try await Task.sleep(for: .milliseconds(50))
    #expect(fixture.made.load(ordering: .relaxed) == 1, "seven and a half minutes before the end at the earliest")
    fixture.advance(170)
    #expect(try await fixture.value() == 1, "the one who causes the new one does not wait for it")
    try await fixture.waitUntilMade(2)
    for _ in 0..<100 where try await fixture.value() == 1 { try await Task.sleep(for: .milliseconds(10)) }
    #expect(try await fixture.value() == 2)
    #expect(fixture.made.load(ordering: .relaxed) == 2)
  }

  @Test func whatIsValidServesThroughAnOutage() async throws {
    let fixture = Fixture()
    #expect(try await fixture.value() == 1)
    fixture.advance(610)
    // Every few seconds somebody tries to renew it; nobody notices.
    for expected in 2...5 {
      #expect(try await fixture.value(failing: true) == 1)
      try await fixture.waitUntilMade(expected)
      try await Task.sleep(for: .milliseconds(20))
      #expect(try await fixture.value(failing: true) == 1)
      #expect(fixture.made.load(ordering: .relaxed) == expected, "not sooner than after two seconds")
      fixture.advance(4)
    }
    // In its last minute a new one is waited for; the old one still serves if there is none.
    fixture.advance(240)
    #expect(try await fixture.value(failing: true) == 1)
    fixture.advance(60)
    await #expect(throws: AWSError.self) { try await fixture.value(failing: true) }
  }

  @Test func failuresAreRememberedForASecond() async throws {
    let fixture = Fixture()
    for _ in 0..<3 { await #expect(throws: AWSError.self) { try await fixture.value(failing: true) } }
    #expect(fixture.made.load(ordering: .relaxed) == 1)
    fixture.advance(1.1)
    #expect(try await fixture.value() == 2)
  }

  @Test func theLeastRecentlyMadeGo() async throws {
    let fixture = Fixture()
    for key in ["a", "b", "c"] { _ = try await fixture.value(key) }
    #expect(try await fixture.value("b") == 2)
    #expect(try await fixture.value("a") == 4)
  }

  /// The cold side stands still altogether: its actor is held by a caller that does not go on.
  @Test(.timeLimit(.minutes(1))) func warmReadersDoNotWaitForTheColdSide() async throws {
    let fixture = Fixture()
    _ = try await fixture.value("warm")
    _ = try await fixture.value("cold")
    let (held, release) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    let calls = Shared(0)
    let cold = Task.detached {
      try await fixture.cache.value(
        for: "cold",
        isRejected: { _ in
          // The first time it is asked outside of the actor, the second time within.
          if calls.value.wrappingAdd(1, ordering: .relaxed).newValue == 2 {
            held.signal()
            release.wait()
          }
          return true
        }, make: fixture.next()
      ).value
    }
    await withCheckedContinuation { continuation in
      DispatchQueue.global().async {
        held.wait()
        continuation.resume()
      }
    }
    for _ in 0..<10_000 { #expect(try await fixture.value("warm") == 1) }
    #expect(fixture.made.load(ordering: .relaxed) == 2)
    release.signal()
    #expect(try await cold.value == 3)
  }

  @Test(.timeLimit(.minutes(1))) func readersSeeWholeValuesWhileOneWrites() async {
    let pair = LeftRight([0, 0])
    let isOver = Shared(0)
    await withTaskGroup(of: Int.self) { group in
      for _ in 0..<3 {
        group.addTask {
          var last = 0
          while isOver.value.load(ordering: .relaxed) == 0 {
            let seen = pair.read { ($0[0], $0[1]) }
            #expect(seen.0 == seen.1)
            #expect(seen.0 >= last, "no reader goes back in time")
            last = seen.0
          }
          return last
        }
      }
      for number in 1...20_000 { pair.write { $0 = [number, number] } }
      isOver.value.store(1, ordering: .relaxed)
    }
    #expect(pair.read { $0 } == [20_000, 20_000])
    pair.write { $0[0] += 1 }
    #expect(pair.read { $0[0] } == 20_001)
    pair.write { $0[0] += 1 }
    #expect(pair.read { $0[0] } == 20_002, "both copies have every change")
  }

  @Test func validityOfWhatLivesShort() {
    let now = Date(timeIntervalSince1970: 0)
    for _ in 0..<100 {
      let hour = Validity(until: now + 3600, from: now)
      #expect((3150...3300).contains(hour.refreshAfter.timeIntervalSince1970))
      #expect(hour.usableUntil == now + 3540)
      let short = Validity(until: now + 30, from: now)
      #expect((15...20).contains(short.refreshAfter.timeIntervalSince1970))
      #expect(short.usableUntil == now + 27)
    }
    #expect(Validity(until: nil, from: now).end == .distantFuture)
    #expect(Validity(until: now + 900, from: now, suggested: now + 100).refreshAfter == now + 100)
  }
}
