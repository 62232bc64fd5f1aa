import CPlatform

/// What a cipher suite means for records: AEAD, hash, and how nonces are made.
///
/// Sources: RFC 8446 appendix B.4, RFC 5288, RFC 5289, RFC 7905.
struct RecordSuite: Equatable {
  enum Version { case tls12, tls13 }

  let version: Version
  /// EVP_CIPHER, kept by this process for ever.
  let cipher: OpaquePointer
  let keyCount: Int
  /// EVP_MD, likewise.
  let digest: OpaquePointer
  let digestCount: Int
  /// Each record begins with half of its nonce: AES-GCM of TLS 1.2.
  let hasExplicitNonce: Bool

  /// Bytes of the authentication tag of every AEAD here.
  static let tagCount = 16
  static let nonceCount = 12
  static let headerCount = platform_tls_record_header
  static let explicitNonceCount = platform_tls_explicit_nonce

  /// The suite with that number in the IANA registry; `nil` for one this does not know.
  init?(id: UInt16) {
    let parts: (Version, OpaquePointer?, Int, OpaquePointer?, Int, Bool)
    switch id {
    case 0x1301: parts = (.tls13, Self.aes128, 16, Self.sha256, 32, false)
    case 0x1302: parts = (.tls13, Self.aes256, 32, Self.sha384, 48, false)
    case 0x1303: parts = (.tls13, Self.chacha20, 32, Self.sha256, 32, false)
    case 0xC02B, 0xC02F: parts = (.tls12, Self.aes128, 16, Self.sha256, 32, true)
    case 0xC02C, 0xC030: parts = (.tls12, Self.aes256, 32, Self.sha384, 48, true)
    case 0xCCA8, 0xCCA9: parts = (.tls12, Self.chacha20, 32, Self.sha256, 32, false)
    default: return nil
    }
    guard let cipher = parts.1, let digest = parts.3 else { return nil }
    (version, self.cipher, keyCount) = (parts.0, cipher, parts.2)
    (self.digest, digestCount, hasExplicitNonce) = (digest, parts.4, parts.5)
  }

  /// Bytes of a nonce that are fixed for a connection.
  var ivCount: Int { hasExplicitNonce ? Self.nonceCount - Self.explicitNonceCount : Self.nonceCount }

  /// Bytes of a record besides its plaintext.
  var overhead: Int {
    switch version {
    // The content type travels behind the plaintext.
    case .tls13: Self.headerCount + 1 + Self.tagCount
    case .tls12: Self.headerCount + (hasExplicitNonce ? Self.explicitNonceCount : 0) + Self.tagCount
    }
  }

  // Fetched once: fetching by name at each key takes a lock and a search. OpenSSL allows their use by all threads.
  nonisolated(unsafe) private static let aes128 = EVP_CIPHER_fetch(nil, "AES-128-GCM", nil)
  nonisolated(unsafe) private static let aes256 = EVP_CIPHER_fetch(nil, "AES-256-GCM", nil)
  nonisolated(unsafe) private static let chacha20 = EVP_CIPHER_fetch(nil, "ChaCha20-Poly1305", nil)
  nonisolated(unsafe) private static let sha256 = EVP_MD_fetch(nil, "SHA2-256", nil)
  nonisolated(unsafe) private static let sha384 = EVP_MD_fetch(nil, "SHA2-384", nil)
}
