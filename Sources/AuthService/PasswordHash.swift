import Crypto
import CryptoExtras
import Foundation
import Secrets

/// scrypt (RFC 7914) with its parameters beside it: N = 2¹⁵, r = 8, p = 3, about 32 MiB and 0.2 s.
struct PasswordHash: Codable {
  var rounds = 1 << 15
  var blockSize = 8
  var parallelism = 3
  var salt: Data
  var hash: Data

  static let lengths = 12...1024

  /// The hash of no password: comparing with it costs what comparing with a user's does. 256 random bits, which nobody
  /// will find a password for, so that it need not be derived.
  static let ofNobody = PasswordHash(salt: randomBytes(16), hash: randomBytes(32))

  /// Called at each derivation; set by tests that count them.
  @TaskLocal static var onDerivation: @Sendable () -> Void = {}

  private init(salt: Data, hash: Data) {
    self.salt = salt
    self.hash = hash
  }

  init(_ password: Secret) throws {
    self.init(salt: Self.randomBytes(16), hash: Data())
    hash = try derive(password)
  }

  func matches(_ password: Secret) throws -> Bool { Secret(try derive(password)).constantTimeEquals(hash) }

  private static func randomBytes(_ count: Int) -> Data {
    Data((0..<count).map { _ in UInt8.random(in: .min ... .max) })
  }

  private func derive(_ password: Secret) throws -> Data {
    Self.onDerivation()
    return try password.withBytes { bytes in
      try KDF.Scrypt.deriveKey(
        from: Data(bytes), salt: salt, outputByteCount: 32, rounds: rounds, blockSize: blockSize,
        parallelism: parallelism, maxMemory: 256 << 20
      ).withUnsafeBytes { Data($0) }
    }
  }
}

/// Lets few hashes run at once, each takes 32 MiB, and slows down who guesses.
actor PasswordGate {
  private var running = 0
  private var failures: [String: (count: Int, since: Date)] = [:]

  private static let atOnce = 4
  private static let allowedFailures = 10
  private static let window: TimeInterval = 300
  private static let maximumNames = 10_000

  /// Takes a place, or says why not.
  func enter(_ name: String, now: Date = Date()) throws {
    if let entry = failures[name], entry.count >= Self.allowedFailures, now < entry.since + Self.window {
      throw AuthError.tooMany("too many wrong passwords for this user; try again in 5 minutes")
    }
    guard running < Self.atOnce else { throw AuthError.tooMany("too many logins at once; try again in a moment") }
    running += 1
  }

  /// Gives the place back and remembers a failure.
  func leave(_ name: String, succeeded: Bool, now: Date = Date()) {
    running -= 1
    if succeeded {
      failures[name] = nil
    } else {
      if failures.count >= Self.maximumNames { failures = failures.filter { now < $0.value.since + Self.window } }
      let entry = failures[name].flatMap { now < $0.since + Self.window ? $0 : nil }
      failures[name] = ((entry?.count ?? 0) + 1, entry?.since ?? now)
    }
  }
}
