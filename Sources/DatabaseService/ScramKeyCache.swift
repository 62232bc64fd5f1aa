import PostgresWire
import Secrets
import Synchronization

/// Remembers derived SCRAM keys of one temporary password, so that each further connect with it saves 4,096 hashes.
///
/// Thread-safe.
final class ScramKeyCache: Sendable {
  private struct Entry {
    let password: Secret
    let salt: [UInt8]
    let iterations: Int
    let keys: ScramKeys

    func isOf(_ derivation: ScramDerivation, _ password: Secret) -> Bool {
      self.password === password && salt == derivation.salt && iterations == derivation.iterations
    }
  }

  private static let maximumEntries = 256
  private let entries = Mutex<[Entry]>([])

  /// Derives the keys if they are not remembered, which takes milliseconds.
  func keys(for derivation: ScramDerivation, password: Secret?) throws(AuthenticationFailure) -> ScramKeys {
    guard let password else { return try derivation.run() }
    if let known = entries.withLock({ $0.first { $0.isOf(derivation, password) } }) { return known.keys }
    let keys = try derivation.run()
    entries.withLock { entries in
      if entries.count >= Self.maximumEntries { entries.removeFirst() }
      entries.append(Entry(password: password, salt: derivation.salt, iterations: derivation.iterations, keys: keys))
    }
    return keys
  }

  /// The keys, unless they are not remembered or somebody else is looking at this moment. Never waits.
  func remembered(for derivation: ScramDerivation, password: Secret?) -> ScramKeys? {
    guard let password else { return nil }
    return entries.withLockIfAvailable { $0.first { $0.isOf(derivation, password) }?.keys } ?? nil
  }
}
