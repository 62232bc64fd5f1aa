import CPlatform
import Secrets

/// Protects the records of one direction: its key, and the number of the next record.
///
/// Writes ciphertext and plaintext straight to where they are wanted, without a buffer of its own. Bound to one thread.
struct RecordKey: ~Copyable {
  let suite: RecordSuite
  // Invariant: an EVP_CIPHER_CTX owned by this value, initialised with cipher and key.
  private let context: OpaquePointer
  /// The fixed part of nonces: all of it, or the first four bytes (then `ivTail` is the explicit part, counted up).
  private var ivHead: UInt32
  private var ivTail: UInt64
  /// How many records this key has protected.
  private(set) var sequence: UInt64
  private let isSealing: Bool

  /// `nil` without memory, or if the keys do not fit the suite.
  ///
  /// - Parameters:
  ///   - sequence: records that somebody else has protected with these keys.
  ///   - explicitNonce: of the last of these, where the suite has such: the next is the one after it.
  init?(_ keys: KeySchedule.Keys, suite: RecordSuite, sequence: UInt64, explicitNonce: UInt64, isSealing: Bool) {
    guard let context = Self.makeContext(keys, suite, isSealing: isSealing) else { return nil }
    (self.suite, self.context, self.sequence, self.isSealing) = (suite, context, sequence, isSealing)
    (ivHead, ivTail) = Self.split(keys.iv, explicitNonce)
  }

  private static func makeContext(
    _ keys: KeySchedule.Keys, _ suite: RecordSuite, isSealing: Bool
  ) -> OpaquePointer? {
    guard keys.key.count == suite.keyCount, keys.iv.count == suite.ivCount, let context = EVP_CIPHER_CTX_new() else {
      return nil
    }
    let isReady = keys.key.withBytes { key in
      EVP_CipherInit_ex2(
        context, suite.cipher, key.baseAddress?.assumingMemoryBound(to: UInt8.self), nil, isSealing ? 1 : 0, nil)
    }
    guard isReady == 1 else {
      EVP_CIPHER_CTX_free(context)
      return nil
    }
    return context
  }

  deinit { EVP_CIPHER_CTX_free(context) }

  /// Goes on with other keys of the same suite, from record 0. Returns `false` if they are not usable.
  mutating func replace(with keys: KeySchedule.Keys) -> Bool {
    guard keys.key.count == suite.keyCount, keys.iv.count == suite.ivCount else { return false }
    (ivHead, ivTail) = Self.split(keys.iv, 0)
    sequence = 0
    return keys.key.withBytes { key in
      EVP_CipherInit_ex2(
        context, nil, key.baseAddress?.assumingMemoryBound(to: UInt8.self), nil, isSealing ? 1 : 0, nil)
    } == 1
  }

  private static func split(_ iv: Secret, _ explicitNonce: UInt64) -> (UInt32, UInt64) {
    iv.withBytes { bytes in
      let head = bytes.loadUnaligned(as: UInt32.self)
      guard bytes.count == RecordSuite.nonceCount else { return (head, explicitNonce) }
      return (head, UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt64.self)))
    }
  }

  // MARK: Records

  /// Bytes of the record that `count` bytes of plaintext become.
  func recordCount(_ count: Int) -> Int { count + suite.overhead }

  /// Writes one record of `recordCount(plaintext.count)` bytes to `record`. Returns `false` if OpenSSL cannot.
  mutating func seal(
    _ plaintext: UnsafeRawBufferPointer, as type: UInt8, into record: UnsafeMutableRawPointer
  ) -> Bool {
    let isTLS13 = suite.version == .tls13
    let bodyCount = recordCount(plaintext.count) - RecordSuite.headerCount
    record.storeBytes(of: isTLS13 ? ContentType.applicationData : type, as: UInt8.self)
    record.storeBytes(of: 0x0303, toByteOffset: 1, as: UInt16.self)
    record.storeBytes(of: UInt16(truncatingIfNeeded: bodyCount).bigEndian, toByteOffset: 3, as: UInt16.self)
    var body = record + RecordSuite.headerCount
    // Counted on from what OpenSSL wrote last: no nonce is ever used twice with one key.
    if suite.hasExplicitNonce {
      ivTail &+= 1
      body.storeBytes(of: ivTail.bigEndian, as: UInt64.self)
      body += RecordSuite.explicitNonceCount
    }
    guard begin(nonceTail: suite.hasExplicitNonce ? ivTail : ivTail ^ sequence),
      authenticate(header: record, type: type, count: plaintext.count), update(body, plaintext)
    else { return false }
    body += plaintext.count
    if isTLS13 {
      var type = type
      guard withUnsafeBytes(of: &type, { update(body, $0) }) else { return false }
      body += 1
    }
    guard finish(body), EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(RecordSuite.tagCount), body) == 1
    else { return false }
    sequence &+= 1
    return true
  }

  /// Decrypts the body of a record to `plaintext`, which has room for it; `nil` if it is not authentic.
  ///
  /// - Parameters:
  ///   - record: header and body; the body is at least as long as the suite's overhead.
  /// - Returns: how many bytes were decrypted; with TLS 1.3 the content type and padding are among them.
  mutating func open(_ record: UnsafeRawBufferPointer, into plaintext: UnsafeMutableRawPointer) -> Int? {
    guard let header = record.baseAddress else { return nil }
    var body = UnsafeRawBufferPointer(rebasing: record[RecordSuite.headerCount...])
    var nonceTail = ivTail ^ sequence
    if suite.hasExplicitNonce {
      nonceTail = UInt64(bigEndian: body.loadUnaligned(as: UInt64.self))
      body = UnsafeRawBufferPointer(rebasing: body[RecordSuite.explicitNonceCount...])
    }
    let count = body.count - RecordSuite.tagCount
    guard count >= 0, begin(nonceTail: nonceTail), setTag(body.suffix(RecordSuite.tagCount)),
      authenticate(header: header, type: record[0], count: count),
      update(plaintext, UnsafeRawBufferPointer(rebasing: body[..<count])), finish(plaintext + count)
    else { return nil }
    sequence &+= 1
    return count
  }

  // MARK: AEAD

  private func begin(nonceTail: UInt64) -> Bool {
    let tail = nonceTail.bigEndian
    var nonce = (ivHead, UInt32(truncatingIfNeeded: tail), UInt32(truncatingIfNeeded: tail >> 32))
    return withUnsafeBytes(of: &nonce) { nonce in
      EVP_CipherInit_ex2(context, nil, nil, nonce.baseAddress?.assumingMemoryBound(to: UInt8.self), -1, nil)
    } == 1
  }

  /// The header as additional data (RFC 8446 section 5.2), with the number of the record before TLS 1.3 (RFC 5246
  /// section 6.2.3.3).
  private func authenticate(header: UnsafeRawPointer, type: UInt8, count: Int) -> Bool {
    guard suite.version == .tls12 else {
      return update(nil, UnsafeRawBufferPointer(start: header, count: RecordSuite.headerCount))
    }
    let start = UInt32(type) << 24 | 0x0303 << 8 | UInt32(truncatingIfNeeded: count) >> 8
    var data = (sequence.bigEndian, start.bigEndian, UInt8(truncatingIfNeeded: count))
    return withUnsafeBytes(of: &data) { update(nil, UnsafeRawBufferPointer(rebasing: $0.prefix(13))) }
  }

  private func update(_ output: UnsafeMutableRawPointer?, _ input: UnsafeRawBufferPointer) -> Bool {
    var written: Int32 = 0
    guard !input.isEmpty else { return true }
    return EVP_CipherUpdate(
      context, output?.assumingMemoryBound(to: UInt8.self), &written,
      input.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(truncatingIfNeeded: input.count)) == 1
  }

  private func setTag(_ tag: Slice<UnsafeRawBufferPointer>) -> Bool {
    let start = UnsafeMutableRawPointer(mutating: UnsafeRawBufferPointer(rebasing: tag).baseAddress)
    return EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(RecordSuite.tagCount), start) == 1
  }

  private func finish(_ output: UnsafeMutableRawPointer) -> Bool {
    var written: Int32 = 0
    return EVP_CipherFinal_ex(context, output.assumingMemoryBound(to: UInt8.self), &written) == 1
  }
}

/// Content types of records (RFC 8446 section 5.1).
enum ContentType {
  static let alert: UInt8 = 21
  static let handshake: UInt8 = 22
  static let applicationData: UInt8 = 23
}
