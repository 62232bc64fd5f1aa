import CPlatform
import Secrets

/// Keys of records from the secrets of a handshake.
enum KeySchedule {
  /// What one direction of a connection is protected with.
  struct Keys {
    let key: Secret
    let iv: Secret
  }

  // MARK: TLS 1.3

  /// The keys that follow from a traffic secret (RFC 8446 section 7.3).
  static func keys(from secret: Secret, _ suite: RecordSuite) -> Keys? {
    guard let key = expand(secret, "key", suite.keyCount, suite), let iv = expand(secret, "iv", suite.ivCount, suite)
    else { return nil }
    return Keys(key: key, iv: iv)
  }

  /// The traffic secret after a KeyUpdate (RFC 8446 section 7.2).
  static func next(after secret: Secret, _ suite: RecordSuite) -> Secret? {
    expand(secret, "traffic upd", suite.digestCount, suite)
  }

  /// HKDF-Expand-Label without a context (RFC 8446 section 7.1), for at most one block of the hash: all that records need.
  static func expand(_ secret: Secret, _ label: StaticString, _ count: Int, _ suite: RecordSuite) -> Secret? {
    guard count <= suite.digestCount else { return nil }
    let prefix: StaticString = "tls13 "
    let name = [prefix, label].flatMap { $0.withUTF8Buffer(Array.init) }
    let info = [0, UInt8(truncatingIfNeeded: count), UInt8(truncatingIfNeeded: name.count)] + name + [0]
    // The first block of HKDF-Expand is HMAC over the info and the byte 1 (RFC 5869 section 2.3).
    return hmac(secret, [info, [1]], suite).map { block in block.withBytes { Secret($0.prefix(count)) } }
  }

  // MARK: TLS 1.2

  /// The keys of the client's and of the server's records (RFC 5246 section 6.3).
  static func keys(
    master: Secret, clientRandom: [UInt8], serverRandom: [UInt8], _ suite: RecordSuite
  ) -> (client: Keys, server: Keys)? {
    let count = 2 * (suite.keyCount + suite.ivCount)
    let seed = Array("key expansion".utf8) + serverRandom + clientRandom
    guard let block = expand(master, seed: seed, count, suite) else { return nil }
    return block.withBytes { bytes in
      var rest = bytes[...]
      func take(_ count: Int) -> Secret {
        defer { rest = rest.dropFirst(count) }
        return Secret(rest.prefix(count))
      }
      let (clientKey, serverKey) = (take(suite.keyCount), take(suite.keyCount))
      let (clientIV, serverIV) = (take(suite.ivCount), take(suite.ivCount))
      return (Keys(key: clientKey, iv: clientIV), Keys(key: serverKey, iv: serverIV))
    }
  }

  /// P_hash (RFC 5246 section 5).
  private static func expand(_ secret: Secret, seed: [UInt8], _ count: Int, _ suite: RecordSuite) -> Secret? {
    let blocks = (count + suite.digestCount - 1) / suite.digestCount
    var parts: [Secret] = []
    guard var a = hmac(secret, [seed], suite) else { return nil }
    for _ in 0..<blocks {
      guard let part = a.withBytes({ hmac(secret, [Array($0), seed], suite) }),
        let next = a.withBytes({ hmac(secret, [Array($0)], suite) })
      else { return nil }
      parts.append(part)
      a = next
    }
    var all = Secret(count: blocks * suite.digestCount) { target in
      for (index, part) in parts.enumerated() {
        part.withBytes {
          UnsafeMutableRawBufferPointer(rebasing: target[(index * suite.digestCount)...]).copyMemory(from: $0)
        }
      }
    }
    all = all.withBytes { Secret($0.prefix(count)) }
    return all
  }

  // MARK: HMAC

  private static func hmac(_ key: Secret, _ message: [[UInt8]], _ suite: RecordSuite) -> Secret? {
    let bytes = Array(message.joined())
    var isDone = false
    let mac = Secret(count: suite.digestCount) { target in
      isDone = key.withBytes { key in
        guard let keyCount = Int32(exactly: key.count) else { return false }
        let result = HMAC(
          suite.digest, key.baseAddress, keyCount, bytes, bytes.count,
          target.baseAddress?.assumingMemoryBound(to: UInt8.self), nil)
        return result != nil
      }
    }
    return isDone ? mac : nil
  }
}
