import PostgresWire
import Secrets
import Synchronization

/// Remembers derived SCRAM keys of one temporary password, so that each further connect with it saves 4,096 hashes.
///
/// Thread-safe; used on the Dispatch pool.
final class ScramKeyCache: Sendable {
  private struct Entry {
    let password: Secret
    let salt: [UInt8]
    let iterations: Int
    let keys: ScramKeys
  }

  private static let maximumEntries = 256
  private let entries = Mutex<[Entry]>([])

  func keys(for derivation: ScramDerivation, password: Secret?) throws(AuthenticationFailure) -> ScramKeys {
    guard let password else { return try derivation.run() }
    let known = entries.withLock { entries in
      entries.first { $0.password === password && $0.salt == derivation.salt && $0.iterations == derivation.iterations }
    }
    if let known { return known.keys }
    let keys = try derivation.run()
    entries.withLock { entries in
      if entries.count >= Self.maximumEntries { entries.removeFirst() }
      entries.append(Entry(password: password, salt: derivation.salt, iterations: derivation.iterations, keys: keys))
    }
    return keys
  }
}
