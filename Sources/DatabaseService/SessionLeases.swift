import ControlAPI
import Foundation
import Logging
import PostgresWire
import Synchronization

/// Places of this service's sessions among those that their users may have at once.
///
/// Only users whose roles bound the number (`max_connections`) need one. The Auth Service counts, so that the bound holds
/// over all hosts; while it is out of reach such users get no new session, since nobody knows how many they have.
public final class SessionLeases: Sendable {
  private struct State {
    var held: Set<String> = []
    /// Over, and the Auth Service has not confirmed yet that it knows.
    private(set) var ended: Set<String> = []

    /// While the Auth Service is away for long, places that are not remembered here run out by themselves.
    private static let maximumEnded = 10_000

    mutating func end(_ session: String) {
      if ended.count < Self.maximumEnded { ended.insert(session) }
    }

    mutating func confirm(_ sessions: [String]) { ended.subtract(sessions) }
  }

  private let acquire: @Sendable (SessionLeaseRequest) async throws -> SessionLeaseAnswer
  private let renew: @Sendable (SessionLeaseRenewal) async throws -> Void
  private let state = Mutex(State())
  /// Asks for a renewal soon; several that come while one is under way are one.
  private let (wakes, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
  private let logger = Logger(label: "db")

  /// - Parameters:
  ///   - acquire: asks the Auth Service for a place.
  ///   - renew: tells it which are still needed.
  public init(
    acquire: @escaping @Sendable (SessionLeaseRequest) async throws -> SessionLeaseAnswer,
    renew: @escaping @Sendable (SessionLeaseRenewal) async throws -> Void
  ) {
    self.acquire = acquire
    self.renew = renew
  }

  /// Takes a place for `session`, to be given back with `release`.
  ///
  /// - Throws: `WireError` if none is free or nobody can tell.
  func take(_ session: String, of user: String, certificate: [UInt8]) async throws {
    var answer: SessionLeaseAnswer
    do {
      answer = try await ask(session, certificate)
      // A session that its client has just closed may not be known to be over yet.
      for _ in 0..<Self.patience where !answer.isGranted {
        try await Task.sleep(for: .milliseconds(100))
        answer = try await ask(session, certificate)
      }
    } catch {
      // The answer may have been lost on its way: what was granted is given back.
      state.withLock { $0.end(session) }
      logger.warning("the sessions of a user could not be counted", metadata: ["user": "\(user)", "error": "\(error)"])
      throw WireError(
        .cannotConnectNow, "the sessions of user '\(user)' cannot be counted now, and a role bounds them",
        hint: "Try again; the Database Service's log says why the Auth Service does not answer.")
    }
    guard answer.isGranted else {
      throw WireError(
        .tooManyConnections, "user '\(user)' has as many sessions open as the roles allow: \(answer.limit)",
        hint: "Close one ('tsh sessions ls' lists them); the limit is max_connections of a role.")
    }
    if answer.limit > 0 { state.withLock { _ = $0.held.insert(session) } }
  }

  private static let patience = 3

  private func ask(_ session: String, _ certificate: [UInt8]) async throws -> SessionLeaseAnswer {
    let ended = state.withLock { Array($0.ended.prefix(SessionLeaseRenewal.maximum)) }
    let answer = try await acquire(
      SessionLeaseRequest(session: session, certificate: Data(certificate), ended: ended))
    state.withLock { $0.confirm(ended) }
    return answer
  }

  /// The session is over, or has never begun. Sessions without a place are passed over.
  func release(_ session: String) {
    let wasHeld = state.withLock { state in
      guard state.held.remove(session) != nil else { return false }
      state.end(session)
      return true
    }
    if wasHeld { wake.yield() }
  }

  /// Renews and gives back until cancelled.
  public func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { [wake] in
        while true {
          try await Task.sleep(for: .seconds(SessionLeaseRenewal.interval))
          wake.yield()
        }
      }
      group.addTask { for await _ in self.wakes { await self.report() } }
      try await group.waitForAll()
    }
  }

  private func report() async {
    let (held, ended) = state.withLock { (Array($0.held), Array($0.ended)) }
    let size = SessionLeaseRenewal.maximum
    do {
      for start in stride(from: 0, to: max(held.count, ended.count), by: size) {
        let over = Array(ended.dropFirst(start).prefix(size))
        try await renew(SessionLeaseRenewal(held: Array(held.dropFirst(start).prefix(size)), ended: over))
        state.withLock { $0.confirm(over) }
      }
    } catch {
      // Tried again at the next interval; the places of sessions that are over run out by themselves.
      logger.warning("the places of bounded sessions are not renewed: \(error)")
    }
  }
}
