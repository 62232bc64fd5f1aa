import CPlatform
import Secrets

/// OpenSSL's SSL object over memory: the handshake, and records for as long as it is asked to do them.
final class OpenSSLSession {
  // Invariant: `ssl` and `pipe` are owned by this object; the BIO inside `ssl` points at `pipe`, which is freed after it.
  let ssl: OpaquePointer
  private let pipe: UnsafeMutablePointer<platform_tls_pipe>
  /// The context must outlive the callbacks that are registered on it.
  private let box: ContextBox
  private let isServer: Bool

  init?(server: ServerTLSContext, output: TLSOutput, requiresALPN: Bool) {
    guard let parts = Self.make(server.box, output) else { return nil }
    (ssl, pipe, box, isServer) = (parts.ssl, parts.pipe, server.box, true)
    SSL_set_accept_state(ssl)
    if requiresALPN { platform_tls_require_protocol(ssl) }
  }

  init?(client: ClientTLSContext, serverName: String, output: TLSOutput, resuming session: ResumableSession?) {
    guard let parts = Self.make(client.box, output) else { return nil }
    (ssl, pipe, box, isServer) = (parts.ssl, parts.pipe, client.box, false)
    SSL_set_connect_state(ssl)
    let isAddress = serverName.contains(":") || serverName.allSatisfy { $0.isNumber || $0 == "." }
    if !isAddress, platform_tls_send_server_name(ssl, serverName) != 1 { return nil }
    if client.mode == .verifyFull, platform_tls_expect_name(ssl, serverName, isAddress ? 1 : 0) != 1 { return nil }
    if let session, SSL_set_session(ssl, session.session) != 1 { return nil }
  }

  private static func make(
    _ box: ContextBox, _ output: TLSOutput
  ) -> (ssl: OpaquePointer, pipe: UnsafeMutablePointer<platform_tls_pipe>)? {
    guard let ssl = SSL_new(box.context) else { return nil }
    let pipe = UnsafeMutablePointer<platform_tls_pipe>.allocate(capacity: 1)
    pipe.initialize(to: platform_tls_pipe())
    (pipe.pointee.output_context, pipe.pointee.output) = (output.context, output.append)
    guard platform_tls_attach(ssl, pipe) == 1 else {
      SSL_free(ssl)
      pipe.deallocate()
      return nil
    }
    return (ssl, pipe)
  }

  deinit {
    SSL_free(ssl)
    platform_tls_empty(pipe)
    pipe.deallocate()
  }

  // MARK: Bytes

  func redirectOutput(to output: TLSOutput) {
    (pipe.pointee.output_context, pipe.pointee.output) = (output.context, output.append)
  }

  /// Ciphertext to read from, borrowed.
  var input: UnsafeRawBufferPointer {
    get { UnsafeRawBufferPointer(start: pipe.pointee.input, count: pipe.pointee.input_count) }
    set {
      pipe.pointee.input = newValue.baseAddress?.assumingMemoryBound(to: UInt8.self)
      pipe.pointee.input_count = newValue.count
    }
  }

  /// OpenSSL has bytes that it has not handed out.
  var hasPending: Bool { SSL_has_pending(ssl) == 1 }

  func handshake() -> TLSSession.HandshakeStep {
    ERR_clear_error()
    let result = SSL_do_handshake(ssl)
    if result == 1 {
      (pipe.pointee.in.records, pipe.pointee.out.records) = (0, 0)
      return .complete
    }
    return SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ ? .needsInput : .failed(.current(ssl))
  }

  func read(into buffer: UnsafeMutableRawBufferPointer) -> TLSSession.ReadStep {
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

  func write(_ plaintext: UnsafeRawBufferPointer) -> TLSFailure? {
    ERR_clear_error()
    var count = 0
    // The output takes everything, so a blocking-style full write either succeeds or the session is broken.
    guard SSL_write_ex(ssl, plaintext.baseAddress, plaintext.count, &count) == 1, count == plaintext.count else {
      return .current(ssl)
    }
    return nil
  }

  func shutdown() {
    ERR_clear_error()
    // 0 and 1 both mean sent; -1 means that the session is broken already and there is nobody to tell.
    _ = SSL_shutdown(ssl)
    ERR_clear_error()
  }

  // MARK: Resumption

  /// Sessions the server has offered so far.
  func takeSessions() -> [ResumableSession] {
    var sessions: [ResumableSession] = []
    while let session = platform_tls_take_session(pipe) { sessions.append(ResumableSession(owning: session)) }
    return sessions
  }

  // MARK: Handing the records over

  /// The records from here on, for somebody else to go on with: then this object is to be let go without another call.
  /// `nil` if that is not possible (yet): in the midst of a record or message, with a suite that `RecordSuite` does not
  /// know, after a key update.
  func recordLayer(blocks: BlockPool, rekeyAfter: UInt64) -> RecordLayer? {
    guard SSL_in_init(ssl) == 0, SSL_has_pending(ssl) == 0, pipe.pointee.in.taken == 0, pipe.pointee.out.taken == 0,
      pipe.pointee.has_updated_keys == 0, SSL_get_shutdown(ssl) == 0, let cipher = SSL_get_current_cipher(ssl),
      let suite = RecordSuite(id: SSL_CIPHER_get_protocol_id(cipher))
    else { return nil }
    var secrets: RecordLayer.Secrets?
    let keys: (reading: KeySchedule.Keys, writing: KeySchedule.Keys)
    switch suite.version {
    case .tls13:
      guard let ours = trafficSecret(ofServer: isServer, suite), let theirs = trafficSecret(ofServer: !isServer, suite),
        let reading = KeySchedule.keys(from: theirs, suite), let writing = KeySchedule.keys(from: ours, suite)
      else { return nil }
      secrets = .init(reading: theirs, writing: ours)
      keys = (reading, writing)
    case .tls12:
      guard
        let both = KeySchedule.keys(
          master: masterSecret, clientRandom: random(ofServer: false), serverRandom: random(ofServer: true), suite)
      else { return nil }
      keys = isServer ? (both.client, both.server) : (both.server, both.client)
    }
    // The Finished messages of TLS 1.2 are the first records under these keys; those of TLS 1.3 have keys of their own.
    let finished: UInt64 = suite.version == .tls12 ? 1 : 0
    guard
      let reading = RecordKey(
        keys.reading, suite: suite, sequence: pipe.pointee.in.records &+ finished, explicitNonce: 0, isSealing: false),
      let writing = RecordKey(
        keys.writing, suite: suite, sequence: pipe.pointee.out.records &+ finished, explicitNonce: lastExplicitNonce,
        isSealing: true)
    else { return nil }
    // OpenSSL takes a connection that is freed without goodbye for broken, and its session for not to be resumed.
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
    return RecordLayer(
      reading: reading, writing: writing, secrets: secrets, isServer: isServer, blocks: blocks, rekeyAfter: rekeyAfter)
  }

  private func trafficSecret(ofServer: Bool, _ suite: RecordSuite) -> Secret? {
    func copy(_ storage: inout some Any, _ count: UInt8) -> Secret {
      withUnsafeBytes(of: &storage) { Secret($0.prefix(Int(count))) }
    }
    let secret =
      ofServer
      ? copy(&pipe.pointee.server_secret, pipe.pointee.server_secret_count)
      : copy(&pipe.pointee.client_secret, pipe.pointee.client_secret_count)
    return secret.count == suite.digestCount ? secret : nil
  }

  private var masterSecret: Secret {
    Secret(count: Int(SSL_MAX_MASTER_KEY_LENGTH)) { bytes in
      _ = SSL_SESSION_get_master_key(
        SSL_get_session(ssl), bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count)
    }
  }

  private func random(ofServer: Bool) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(SSL3_RANDOM_SIZE))
    _ = ofServer ? SSL_get_server_random(ssl, &bytes, bytes.count) : SSL_get_client_random(ssl, &bytes, bytes.count)
    return bytes
  }

  /// The first bytes behind the header of the last record written.
  private var lastExplicitNonce: UInt64 {
    withUnsafeBytes(of: &pipe.pointee.out.start) {
      UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: RecordSuite.headerCount, as: UInt64.self))
    }
  }

  // MARK: After the handshake

  /// What the handshake found out.
  var facts: TLSSession.Facts {
    TLSSession.Facts(
      negotiatedProtocol: negotiatedProtocol,
      serverName: SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name).map { String(cString: $0) },
      peerCertificate: peerCertificate, serverEndPoint: isServer ? nil : serverEndPoint,
      isVerified: SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER != 0 && SSL_get_verify_result(ssl) == Int(X509_V_OK),
      version: SSL_get_version(ssl).map { String(cString: $0) } ?? "", isResumed: SSL_session_reused(ssl) == 1)
  }

  private var negotiatedProtocol: String? {
    var bytes: UnsafePointer<UInt8>?
    var count: UInt32 = 0
    SSL_get0_alpn_selected(ssl, &bytes, &count)
    guard let bytes, count > 0 else { return nil }
    return String(validating: UnsafeBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
  }

  private var peerCertificate: [UInt8]? {
    var der: UnsafeMutablePointer<UInt8>?
    let count = platform_tls_peer_certificate(ssl, &der)
    guard count > 0, let der else { return nil }
    defer { platform_free(der) }
    return Array(UnsafeBufferPointer(start: der, count: Int(count)))
  }

  private var serverEndPoint: [UInt8]? {
    var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    let count = platform_tls_end_point(ssl, &digest, UInt32(digest.count))
    return count > 0 ? Array(digest.prefix(Int(count))) : nil
  }
}
