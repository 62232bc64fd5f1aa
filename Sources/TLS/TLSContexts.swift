import CPlatform
import Secrets
import Synchronization

/// One SSL_CTX, freed with the last reference.
///
/// Immutable once its owner's initialiser is done; OpenSSL allows concurrent SSL_new on it (openssl-threads(7)).
final class ContextBox: @unchecked Sendable {
  let context: OpaquePointer

  init(isServer: Bool) throws(TLSConfigurationError) {
    guard let context = platform_tls_context(isServer ? 1 : 0) else { throw .current("cannot make a TLS context") }
    self.context = context
  }

  deinit { SSL_CTX_free(context) }

  func use(chainPEM: String, key: Secret) throws(TLSConfigurationError) {
    guard try withPEM(chainPEM, { platform_tls_use_certificate(context, $0, $1) }) == 1 else {
      throw .current("the certificate is not usable PEM")
    }
    let status = try key.withPEM { platform_tls_use_key(context, $0, $1) }
    guard status == 1 else { throw .current("the private key is not usable or does not fit its certificate") }
  }

  func trust(_ pem: String) throws(TLSConfigurationError) {
    guard try withPEM(pem, { platform_tls_trust(context, $0, $1) }) > 0 else {
      throw .current("the CA certificate is not usable PEM")
    }
  }

  func withPEM(_ pem: String, _ body: (UnsafeRawPointer?, Int32) -> Int32) throws(TLSConfigurationError) -> Int32 {
    let bytes = Array(pem.utf8)
    guard let count = Int32(exactly: bytes.count) else { throw TLSConfigurationError(description: "PEM too large") }
    return bytes.withUnsafeBytes { body($0.baseAddress, count) }
  }
}

extension Secret {
  fileprivate func withPEM(_ body: (UnsafeRawPointer?, Int32) -> Int32) throws(TLSConfigurationError) -> Int32 {
    guard let count = Int32(exactly: count) else { throw TLSConfigurationError(description: "PEM too large") }
    return withBytes { body($0.baseAddress, count) }
  }
}

/// The server side of a port: certificate, the CAs whose client certificates count, the protocols offered by ALPN.
///
/// Client certificates are asked for, not demanded: one that is shown must be valid, directly under a trusted CA and
/// meant for clients, or the handshake fails. No session is ever resumed, so no check is ever skipped.
public final class ServerTLSContext: Sendable {
  let box: ContextBox

  /// What applies instead once certain application protocols are agreed on.
  public struct Choice: Sendable {
    let protocols: [String]
    let certificate: (chainPEM: String, keyPEM: Secret)?
    let clientCAPEMs: [String]

    /// - Parameters:
    ///   - certificate: presented instead of the context's own; `nil`: the same.
    ///   - clientCAPEMs: trusted instead of the context's own.
    public init(
      protocols: [String], certificate: (chainPEM: String, keyPEM: Secret)? = nil, clientCAPEMs: [String]
    ) {
      self.protocols = protocols
      self.certificate = certificate
      self.clientCAPEMs = clientCAPEMs
    }
  }

  /// - Parameters:
  ///   - certificateChainPEM: leaf first.
  ///   - applicationProtocols: in order of preference; none in common with the client ends in alert 120.
  ///   - choices: protocols of that list which have a certificate or client CAs of their own.
  public init(
    certificateChainPEM: String, privateKeyPEM: Secret, clientCAPEMs: [String], applicationProtocols: [String],
    choices: [Choice] = []
  ) throws(TLSConfigurationError) {
    box = try Self.makeBox(certificateChainPEM, privateKeyPEM, clientCAPEMs)
    let protocols = try wireProtocols(applicationProtocols)
    guard platform_tls_set_server_protocols(box.context, protocols, protocols.count) == 1 else {
      throw .current("cannot set application protocols")
    }
    for choice in choices {
      let (chain, key) = choice.certificate ?? (certificateChainPEM, privateKeyPEM)
      let other = try Self.makeBox(chain, key, choice.clientCAPEMs)
      for name in choice.protocols {
        let bytes = try wireProtocols([name]).dropFirst()
        let status = Array(bytes).withUnsafeBufferPointer { bytes in
          platform_tls_set_protocol_context(
            box.context, bytes.baseAddress, UInt8(truncatingIfNeeded: bytes.count), other.context)
        }
        guard status == 1 else { throw .current("cannot set the context of protocol '\(name)'") }
      }
    }
  }

  private static func makeBox(
    _ chain: String, _ key: Secret, _ clientCAs: [String]
  ) throws(TLSConfigurationError) -> ContextBox {
    let box = try ContextBox(isServer: true)
    try box.use(chainPEM: chain, key: key)
    for pem in clientCAs {
      try box.trust(pem)
      guard try box.withPEM(pem, { platform_tls_announce_ca(box.context, $0, $1) }) == 1 else {
        throw .current("cannot announce the client CA")
      }
    }
    platform_tls_request_client_certificate(box.context)
    return box
  }
}

/// The client side: whom to trust and how strictly to look.
public final class ClientTLSContext: Sendable {
  /// As in teleport.yaml's `tls.mode`.
  public enum Mode: String, Sendable, CaseIterable {
    /// Issuer and host name are checked.
    case verifyFull = "verify-full"
    /// The issuer is checked, the name is not.
    case verifyCA = "verify-ca"
    /// Nothing is checked.
    case insecure
  }

  /// Tells this context from all others that this process ever makes.
  public struct ID: Hashable, Sendable { fileprivate let number: Int }

  public let id = ID(number: contextsMade.add(1, ordering: .relaxed).oldValue)
  let box: ContextBox
  let mode: Mode
  /// Whether it has a certificate to present.
  public let hasCertificate: Bool
  /// Whether a successful handshake proves who the server is: its name was checked, or its issuer is one chosen for it.
  /// With the system's roots and no name, any public certificate would do.
  let identifiesServer: Bool

  /// - Parameters:
  ///   - trustedCAPEM: the only CAs trusted; `nil`: the system's (and `SSL_CERT_FILE`, as OpenSSL has it).
  ///   - furtherCAPEMs: trusted besides.
  ///   - clientCertificate: presented if the server asks.
  ///   - applicationProtocols: offered by ALPN, in order of preference.
  public init(
    mode: Mode, trustedCAPEM: String? = nil, furtherCAPEMs: [String] = [],
    clientCertificate: (chainPEM: String, keyPEM: Secret)? = nil, applicationProtocols: [String] = []
  ) throws(TLSConfigurationError) {
    self.mode = mode
    hasCertificate = clientCertificate != nil
    identifiesServer = mode == .verifyFull || (mode == .verifyCA && trustedCAPEM != nil)
    box = try ContextBox(isServer: false)
    if let clientCertificate { try box.use(chainPEM: clientCertificate.chainPEM, key: clientCertificate.keyPEM) }
    let protocols = try wireProtocols(applicationProtocols)
    // Unlike most of OpenSSL, this call answers 0 for success.
    guard let count = UInt32(exactly: protocols.count),
      protocols.isEmpty || SSL_CTX_set_alpn_protos(box.context, protocols, count) == 0
    else { throw .current("cannot set application protocols") }
    guard mode != .insecure else { return }
    platform_tls_verify_server(box.context)
    if let trustedCAPEM {
      try box.trust(trustedCAPEM)
    } else if SSL_CTX_set_default_verify_paths(box.context) != 1 {
      throw .current("cannot load the system's CA certificates")
    }
    for pem in furtherCAPEMs { try box.trust(pem) }
  }
}

private let contextsMade = Atomic(0)

/// Length-prefixed names, as ALPN has them on the wire (RFC 7301 section 3.1).
private func wireProtocols(_ names: [String]) throws(TLSConfigurationError) -> [UInt8] {
  var bytes: [UInt8] = []
  for name in names {
    guard let count = UInt8(exactly: name.utf8.count), count > 0 else {
      throw TLSConfigurationError(description: "application protocol '\(name)' has a bad length")
    }
    bytes.append(count)
    bytes += name.utf8
  }
  return bytes
}
