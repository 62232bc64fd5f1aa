import Foundation
import Logging
import Synchronization

/// Keeps values that expire and cost calls to make, by key.
///
/// * A value that is kept is given without a wait: readers meet no lock (`LeftRight`) and start no call of their own.
/// * Callers who want the same new value at the same time cause one making of it.
/// * From `Validity.refreshAfter` on, the next reader causes a new one to be made, and takes the old one meanwhile; when that
///   fails, the old one serves on until its end.
/// * A failure with nothing to fall back on is remembered for a second.
final class ExpiringCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  /// How a value came to the one who asked.
  enum Origin: String {
    case kept = "hit"
    case joined = "joined"
    case made = "miss"
  }

  /// A value and how long it is good.
  final class Kept: Sendable {
    let value: Value
    let validity: Validity
    /// Uptime in milliseconds, before which nobody looks for a new one.
    private let nextRefresh = Atomic<Int64>(.min)

    init(_ value: Value, _ validity: Validity) {
      self.value = value
      self.validity = validity
    }

    /// True for one of the callers every few seconds, once it is time for a new one.
    fileprivate func claimsRefresh(_ environment: AWSEnvironment) -> Bool {
      guard environment.clock.now >= validity.refreshAfter else { return false }
      let uptime = Int64(environment.uptime() * 1000)
      let next = nextRefresh.load(ordering: .relaxed)
      guard uptime >= next else { return false }
      return nextRefresh.compareExchange(
        expected: next, desired: uptime + Int64.random(in: 2000...4000), ordering: .relaxed
      ).exchanged
    }
  }

  typealias Make = @Sendable () async throws -> Kept

  private let environment: AWSEnvironment
  private let name: String
  private let kept = LeftRight<[Key: Kept]>([:])
  private let makers: Makers
  private let logger = Logger(label: "aws")

  /// - Parameters:
  ///   - name: of what is kept, for logs.
  ///   - maximumEntries: the least recently made go when there are more.
  ///   - joinLimit: seconds after which nobody waits any more for a making that somebody else began.
  init(_ name: String, _ environment: AWSEnvironment, maximumEntries: Int, joinLimit: TimeInterval) {
    self.name = name
    self.environment = environment
    makers = Makers(environment, kept, maximumEntries: maximumEntries, joinLimit: joinLimit)
  }

  /// The value for `key`, kept or made.
  ///
  /// - Parameter isRejected: a kept value that is good for nothing in spite of its validity.
  func value(
    for key: Key, isRejected: @escaping @Sendable (Value) -> Bool = { _ in false }, make: @escaping Make
  ) async throws -> (value: Value, origin: Origin) {
    let now = environment.clock.now
    if let found = kept.read({ $0[key] }), found.validity.usableUntil > now, !isRejected(found.value) {
      if found.claimsRefresh(environment) { refresh(key, found, make) }
      return (found.value, .kept)
    }
    return try await makers.value(for: key, isRejected: isRejected, make: make)
  }

  /// Makes the next caller make it anew.
  func forget(_ key: Key) async { await makers.forget(key) }

  private func refresh(_ key: Key, _ present: Kept, _ make: @escaping Make) {
    Task.detached { [self] in
      do {
        try await makers.refresh(key, make)
      } catch {
        logger.warning(
          "cannot renew \(name); the present one serves on",
          metadata: ["until": "\(present.validity.end.formatted(.iso8601))", "error": "\(error)"])
      }
    }
  }

  /// The cold side: who makes what, and what has failed.
  private actor Makers {
    private struct Making {
      let task: Task<Kept, any Error>
      /// Nobody joins it after this uptime: whatever it hangs on must not become everybody's.
      let until: TimeInterval
    }

    private static var failureMemory: TimeInterval { 1 }
    private let environment: AWSEnvironment
    private let kept: LeftRight<[Key: Kept]>
    private let maximumEntries: Int
    private let joinLimit: TimeInterval
    private var underway: [Key: Making] = [:]
    private var failures: [Key: (error: any Error, until: TimeInterval)] = [:]
    /// Keys of `kept`, least recently made first.
    private var order: [Key] = []

    init(
      _ environment: AWSEnvironment, _ kept: LeftRight<[Key: Kept]>, maximumEntries: Int, joinLimit: TimeInterval
    ) {
      self.environment = environment
      self.kept = kept
      self.maximumEntries = maximumEntries
      self.joinLimit = joinLimit
    }

    func value(
      for key: Key, isRejected: @escaping @Sendable (Value) -> Bool, make: @escaping Make
    ) async throws -> (value: Value, origin: Origin) {
      let found = kept.read { $0[key] }.flatMap { isRejected($0.value) ? nil : $0 }
      // It may have come while we waited for our turn.
      if let found, found.validity.usableUntil > environment.clock.now { return (found.value, .joined) }
      if let failure = failures[key], failure.until > environment.uptime() {
        guard let found, found.validity.end > environment.clock.now else { throw failure.error }
        return (found.value, .kept)
      }
      let (task, isOurs) = making(key, make)
      do {
        let made = try await task.value
        if isOurs { settle(key, task, .success(made)) }
        return (made.value, isOurs ? .made : .joined)
      } catch {
        if isOurs { settle(key, task, .failure(error)) }
        guard let found, found.validity.end > environment.clock.now else { throw error }
        return (found.value, .kept)
      }
    }

    func refresh(_ key: Key, _ make: @escaping Make) async throws {
      let (task, isOurs) = making(key, make)
      guard isOurs else { return }
      do {
        settle(key, task, .success(try await task.value))
      } catch {
        settle(key, task, .failure(error))
        throw error
      }
    }

    func forget(_ key: Key) {
      failures[key] = nil
      kept.write { $0[key] = nil }
      order.removeAll { $0 == key }
    }

    /// The making that is under way, or a new one.
    private func making(_ key: Key, _ make: @escaping Make) -> (task: Task<Kept, any Error>, isOurs: Bool) {
      if let known = underway[key] {
        if known.until > environment.uptime() { return (known.task, false) }
        known.task.cancel()
      }
      let task = Task.detached { try await make() }
      underway[key] = Making(task: task, until: environment.uptime() + joinLimit)
      return (task, true)
    }

    /// Puts an outcome in its place, if no other making was begun there since.
    private func settle(_ key: Key, _ task: Task<Kept, any Error>, _ outcome: Result<Kept, any Error>) {
      guard underway[key]?.task == task else { return }
      underway[key] = nil
      switch outcome {
      case .success(let made):
        failures[key] = nil
        order.removeAll { $0 == key }
        order.append(key)
        let surplus = order.prefix(max(0, order.count - maximumEntries))
        kept.write { kept in
          kept[key] = made
          for old in surplus { kept[old] = nil }
        }
        order.removeFirst(surplus.count)
      case .failure(let error):
        let now = environment.uptime()
        // Long since over for the most part: whoever asks for ever new things that fail fills nothing.
        if failures.count >= maximumEntries { failures = failures.filter { $0.value.until > now } }
        if failures.count < maximumEntries { failures[key] = (error, now + Self.failureMemory) }
      }
    }
  }
}
