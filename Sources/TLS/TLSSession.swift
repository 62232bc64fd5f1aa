import CPlatform

/// One TLS connection without a socket: ciphertext is lent to it, ciphertext comes out of `TLSOutput`.
///
/// OpenSSL does the handshake. After it the records may be taken over by a `RecordLayer`, and OpenSSL's session object is
/// freed. Never blocks. Bound to one thread. OpenSSL's per-thread error queue is emptied before each call and read after it.
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

  /// What a handshake found out.
  struct Facts {
    var negotiatedProtocol: String?
    var serverName: String?
    var peerCertificate: [UInt8]?
    /// Of a client's session.
    var serverEndPoint: [UInt8]?
    var isVerified = false
    var version = ""
    var isResumed = false
  }

  // Exactly one of these two is there: OpenSSL's session, until the records are taken over.
  private(set) var openSSL: OpenSSLSession?
  private var records: RecordLayer?
  /// Ciphertext lent to `records`.
  private var input = UnsafeRawBufferPointer(start: nil, count: 0)
  private var output: TLSOutput
  /// From the end of the handshake on.
  private var facts = Facts()
  private let identifiesPeer: Bool
  /// Whether a session was offered to be resumed.
  public let isResuming: Bool

  /// A server's session; `nil` only without memory.
  ///
  /// - Parameter requiresALPN: refuse a ClientHello that names no application protocol (alert 120).
  public init?(server: ServerTLSContext, output: TLSOutput, requiresALPN: Bool) {
    guard let session = OpenSSLSession(server: server, output: output, requiresALPN: requiresALPN) else { return nil }
    (openSSL, self.output, identifiesPeer, isResuming) = (session, output, true, false)
  }

  /// A client's session towards `serverName` (a DNS name or an IP literal); `nil` without memory or for a bad name.
  ///
  /// - Parameter session: of an earlier connection to the same server under the same context.
  public init?(
    client: ClientTLSContext, serverName: String, output: TLSOutput, resuming session: ResumableSession? = nil
  ) {
    guard
      let made = OpenSSLSession(client: client, serverName: serverName, output: output, resuming: session)
    else { return nil }
    (openSSL, self.output, identifiesPeer, isResuming) = (made, output, client.identifiesServer, session != nil)
  }

  // MARK: Bytes

  /// Sends ciphertext elsewhere from now on.
  public func redirectOutput(to output: TLSOutput) {
    self.output = output
    openSSL?.redirectOutput(to: output)
  }

  /// Lends ciphertext to read from, until `clearInput` or the next call.
  public func setInput(_ ciphertext: UnsafeRawBufferPointer) {
    if let openSSL { openSSL.input = ciphertext } else { input = ciphertext }
  }

  /// Ends the loan.
  public func clearInput() { setInput(UnsafeRawBufferPointer(start: nil, count: 0)) }

  /// Lent bytes that have not been read yet.
  public var unreadInput: Int { openSSL?.input.count ?? input.count }

  /// Whether another `read` could find something: lent bytes, or bytes OpenSSL has taken but not handed out.
  public var hasUnread: Bool { unreadInput > 0 || openSSL?.hasPending == true }

  /// Goes on with the handshake as far as the input allows.
  public func handshake() -> HandshakeStep {
    guard let openSSL else { return .complete }
    let step = openSSL.handshake()
    if case .complete = step { facts = openSSL.facts }
    return step
  }

  /// Bytes that a buffer for `read` has to have.
  public static let roomToRead = RecordLayer.roomToRead

  /// Decrypts at most one record into `buffer`; once the records are taken over, it has `roomToRead` bytes or more.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> ReadStep {
    if let openSSL { return openSSL.read(into: buffer) }
    return records?.read(from: &input, into: buffer, replyingTo: output) ?? .closed
  }

  /// Encrypts all of `plaintext` into the output.
  ///
  /// - Parameter largest: the most plaintext of one record: a peer can use nothing of it before it has all.
  public func write(_ plaintext: UnsafeRawBufferPointer, largest: Int = .max) -> TLSFailure? {
    guard !plaintext.isEmpty else { return nil }
    if let openSSL { return openSSL.write(plaintext) }
    return records?.write(plaintext, largest: largest, to: output)
  }

  /// Sends close_notify.
  public func shutdown() {
    openSSL?.shutdown()
    records?.shutdown(to: output)
  }

  // MARK: Records

  /// Frees OpenSSL's session object, with its buffers and certificates, and goes on with the bare records: those lent and
  /// not yet read are next. For after the handshake, and for a client not before the server's first application data:
  /// sessions to resume come before it, and only OpenSSL can take them.
  ///
  /// - Parameters:
  ///   - blocks: shared by the sessions of one thread.
  ///   - rekeyAfter: records after which the keys are renewed, with TLS 1.3.
  /// - Returns: `false` if it is not possible (yet) and nothing has changed.
  @discardableResult
  public func takeRecordsOver(blocks: BlockPool, rekeyAfter: UInt64 = 1 << 24) -> Bool {
    guard output.canClaim, let openSSL, let layer = openSSL.recordLayer(blocks: blocks, rekeyAfter: rekeyAfter) else {
      return false
    }
    input = openSSL.input
    records = consume layer
    self.openSSL = nil
    return true
  }

  /// Whether `takeRecordsOver` has been done.
  public var hasOwnRecords: Bool { openSSL == nil }

  /// Sessions to resume that the server has offered and nobody has taken yet; to be asked before `takeRecordsOver`.
  public func takeSessions() -> [ResumableSession] { openSSL?.takeSessions() ?? [] }

  // MARK: After the handshake

  /// The application protocol agreed on by ALPN.
  public var negotiatedProtocol: String? { facts.negotiatedProtocol }

  /// The host name the client asked for (SNI).
  public var serverName: String? { facts.serverName }

  /// The peer's certificate; on a server it has passed verification if it is there.
  public var peerCertificateDER: [UInt8]? { facts.peerCertificate }

  /// Hash of a server's certificate for SCRAM channel binding (RFC 5929 section 4.1), if it has one.
  public var serverEndPointHash: [UInt8]? { facts.serverEndPoint }

  /// Whether the peer's certificate was asked for, verified, and proves that the peer is the one meant: a client has
  /// checked the name or trusts a CA that was given for this server.
  public var isPeerVerified: Bool { identifiesPeer && facts.isVerified }

  /// `TLSv1.3` and the like.
  public var protocolVersion: String { facts.version }

  /// Whether an earlier session was resumed: the server did not show its certificate again.
  public var isResumed: Bool { facts.isResumed }
}
