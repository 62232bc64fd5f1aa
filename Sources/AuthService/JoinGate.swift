import Foundation
import Synchronization

/// Slows down who guesses join tokens: so many refusals a minute for one address, then it has to wait. Thread-safe.
final class JoinGate: Sendable {
  private struct Window {
    var started = Date.distantPast
    var refusals: [String: Int] = [:]
  }

  private static let refusalsPerMinute = 10
  private static let maximumAddresses = 10_000
  private let window = Mutex(Window())
  private let proofs = Atomic<Int>(0)
  /// Proofs of AWS identities that are with STS at once.
  private static let maximumProofs = 32

  /// Throws if `address` has to wait.
  func enter(_ address: String, now: Date = Date()) throws {
    let mayTry = window.withLock { window in
      if now >= window.started + 60 { window = Window(started: now) }
      let known = window.refusals[address]
      return known.map { $0 < Self.refusalsPerMinute } ?? (window.refusals.count < Self.maximumAddresses)
    }
    guard mayTry else { throw AuthError.tooMany("too many wrong join tokens from this address; try again in a minute") }
  }

  /// Runs `check` unless too many others are at it.
  func checkingProof<Result>(_ check: () async throws -> Result) async throws -> Result {
    defer { proofs.subtract(1, ordering: .relaxed) }
    guard proofs.add(1, ordering: .relaxed).newValue <= Self.maximumProofs else {
      throw AuthError.tooMany("too many hosts are joining; try again in a moment")
    }
    return try await check()
  }

  func refused(_ address: String) { window.withLock { $0.refusals[address, default: 0] += 1 } }
}
