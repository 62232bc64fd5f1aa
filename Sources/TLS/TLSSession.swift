import CPlatform

/// Where a session's ciphertext goes: a C function that takes all of it, and its context.
public struct TLSOutput {
  let context: UnsafeMutableRawPointer?
  let append: @convention(c) (UnsafeMutableRawPointer?, UnsafeRawPointer?, Int) -> Void

  public init(
    context: UnsafeMutableRawPointer?,
    append: @escaping @convention(c) (UnsafeMutableRawPointer?, UnsafeRawPointer?, Int) -> Void
  ) {
    self.context = context
    self.append = append
  }
}

/// One TLS connection without a socket: ciphertext is lent to it, ciphertext comes out of `TLSOutput`.
///
/// Never blocks. Bound to one thread. OpenSSL's per-thread error queue is emptied before each call and read after it.
public final class TLSSession {
  /// Progress of the handshake.
  public enum HandshakeStep {
    case complete, needsInput
    case failed(TLSFailure)
  }
  /// Outcome of one read.
  public enum ReadStep {
    case bytes(Int)
    case needsInput, closed
    case failed(TLSFailure)
  }

  // Invariant: `ssl` and `pipe` are owned by this object; the BIO inside `ssl` points at `pipe`, which is freed after it.
  private let ssl: OpaquePointer
  private let pipe: UnsafeMutablePointer<platform_tls_pipe>
  /// The context must outlive the callbacks that are registered on it.
  private let box: ContextBox
  private let identifiesPeer: Bool

  /// A server's session; `nil` only without memory.
  ///
  /// - Parameter requiresALPN: refuse a ClientHello that names no application protocol (alert 120).
  public init?(server: ServerTLSContext, output: TLSOutput, requiresALPN: Bool) {
    guard let parts = Self.make(server.box, output) else { return nil }
    (ssl, pipe, box, identifiesPeer) = (parts.ssl, parts.pipe, server.box, true)
    SSL_set_accept_state(ssl)
    if requiresALPN { platform_tls_require_protocol(ssl) }
  }

  /// A client's session towards `serverName` (a DNS name or an IP literal); `nil` without memory or for a bad name.
  public init?(client: ClientTLSContext, serverName: String, output: TLSOutput) {
    guard let parts = Self.make(client.box, output) else { return nil }
    (ssl, pipe, box, identifiesPeer) = (parts.ssl, parts.pipe, client.box, client.identifiesServer)
    SSL_set_connect_state(ssl)
    let isAddress = serverName.contains(":") || serverName.allSatisfy { $0.isNumber || $0 == "." }
    if !isAddress, platform_tls_send_server_name(ssl, serverName) != 1 { return nil }
    if client.mode == .verifyFull, platform_tls_expect_name(ssl, serverName, isAddress ? 1 : 0) != 1 { return nil }
  }

  private static func make(
    _ box: ContextBox, _ output: TLSOutput
  ) -> (ssl: OpaquePointer, pipe: UnsafeMutablePointer<platform_tls_pipe>)? {
    guard let ssl = SSL_new(box.context) else { return nil }
    let pipe = UnsafeMutablePointer<platform_tls_pipe>.allocate(capacity: 1)
    pipe.initialize(
      to: platform_tls_pipe(input: nil, input_count: 0, output_context: output.context, output: output.append))
    guard platform_tls_attach(ssl, pipe) == 1 else {
      SSL_free(ssl)
      pipe.deallocate()
      return nil
    }
    return (ssl, pipe)
  }

  deinit {
    SSL_free(ssl)
    pipe.deallocate()
  }

  // MARK: Bytes

  /// Sends ciphertext elsewhere from now on.
  public func redirectOutput(to output: TLSOutput) {
    pipe.pointee.output_context = output.context
    pipe.pointee.output = output.append
  }

  /// Lends ciphertext to read from, until `clearInput` or the next call.
  public func setInput(_ ciphertext: UnsafeRawBufferPointer) {
    pipe.pointee.input = ciphertext.baseAddress?.assumingMemoryBound(to: UInt8.self)
    pipe.pointee.input_count = ciphertext.count
  }

  /// Ends the loan.
  public func clearInput() {
    pipe.pointee.input = nil
    pipe.pointee.input_count = 0
  }

  /// Lent bytes that have not been read yet.
  public var unreadInput: Int { pipe.pointee.input_count }

  /// Whether another `read` could find something: lent bytes, or bytes OpenSSL has taken but not handed out.
  public var hasUnread: Bool { pipe.pointee.input_count > 0 || SSL_has_pending(ssl) == 1 }

  /// Goes on with the handshake as far as the input allows.
  public func handshake() -> HandshakeStep {
    ERR_clear_error()
    let result = SSL_do_handshake(ssl)
    if result == 1 { return .complete }
    return SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ ? .needsInput : .failed(.current(ssl))
  }

  /// Decrypts at most one record into `buffer`.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> ReadStep {
    ERR_clear_error()
    var count = 0
    let result = SSL_read_ex(ssl, buffer.baseAddress, buffer.count, &count)
    if result == 1 { return .bytes(count) }
    switch SSL_get_error(ssl, result) {
    case SSL_ERROR_WANT_READ: return .needsInput
    case SSL_ERROR_ZERO_RETURN: return .closed
    default: return .failed(.current(ssl))
    }
  }

  /// Encrypts all of `plaintext` into the output.
  public func write(_ plaintext: UnsafeRawBufferPointer) -> TLSFailure? {
    guard !plaintext.isEmpty else { return nil }
    ERR_clear_error()
    var count = 0
    // The output takes everything, so a blocking-style full write either succeeds or the session is broken.
    guard SSL_write_ex(ssl, plaintext.baseAddress, plaintext.count, &count) == 1, count == plaintext.count else {
      return .current(ssl)
    }
    return nil
  }

  /// Sends close_notify.
  public func shutdown() {
    ERR_clear_error()
    // 0 and 1 both mean sent; -1 means that the session is broken already and there is nobody to tell.
    _ = SSL_shutdown(ssl)
    ERR_clear_error()
  }

  // MARK: After the handshake

  /// The application protocol agreed on by ALPN.
  public var negotiatedProtocol: String? {
    var bytes: UnsafePointer<UInt8>?
    var count: UInt32 = 0
    SSL_get0_alpn_selected(ssl, &bytes, &count)
    guard let bytes, count > 0 else { return nil }
    return String(validating: UnsafeBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
  }

  /// The host name the client asked for (SNI).
  public var serverName: String? {
    SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name).map { String(cString: $0) }
  }

  /// The peer's certificate; on a server it has passed verification if it is there.
  public var peerCertificateDER: [UInt8]? {
    var der: UnsafeMutablePointer<UInt8>?
    let count = platform_tls_peer_certificate(ssl, &der)
    guard count > 0, let der else { return nil }
    defer { platform_free(der) }
    return Array(UnsafeBufferPointer(start: der, count: Int(count)))
  }

  /// Hash of the peer's certificate for SCRAM channel binding (RFC 5929 section 4.1), if it has one.
  public func serverEndPointHash() -> [UInt8]? {
    var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    let count = platform_tls_end_point(ssl, &digest, UInt32(digest.count))
    return count > 0 ? Array(digest.prefix(Int(count))) : nil
  }

  /// Whether the peer's certificate was asked for, verified, and proves that the peer is the one meant: a client has
  /// checked the name or trusts a CA that was given for this server.
  public var isPeerVerified: Bool {
    identifiesPeer && SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER != 0 && SSL_get_verify_result(ssl) == Int(X509_V_OK)
  }

  /// `TLSv1.3` and the like.
  public var protocolVersion: String { SSL_get_version(ssl).map { String(cString: $0) } ?? "" }
}
