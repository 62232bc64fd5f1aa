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
        from: bytes, salt: salt, outputByteCount: 32, rounds: rounds, blockSize: blockSize,
        parallelism: parallelism, maxMemory: 256 << 20
      ).withUnsafeBytes { Data($0) }
    }
  }
}
