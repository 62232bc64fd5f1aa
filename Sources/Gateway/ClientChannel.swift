import PostgresWire
import Reactor
import TLS

/// A client's connection: from its first byte through login to the relay.
///
/// Phases only move forward: `greeting` (clear, telling protocols apart) → `startup` (TLS is on) → `login` (the
/// decision and the database connection are under way) → `relay` → `over`; or from the handshake to `http`.
final class ClientChannel: TLSChannel {
  private enum Phase { case greeting, startup, login, relay, http, over }

  private enum Tag: UInt8 {
    case startup = 1
    case login, idle, lifetime, stall
  }

  let address: String
  private var phase = Phase.greeting
  /// Bytes of an incomplete startup packet, at most `StartupPacket.maximumLength`.
  private var pending: [UInt8] = []
  private var hasAskedForGSS = false
  private var hasAskedForTLS = false
  private var countsAsLogin = true
  private var deadline: Reactor.Timer?

  private var startup: StartupParameters?
  private var request: SessionRequest?
  private var grant: SessionGrant?
  private var cancelKey: CancelKeys.Key?
  private var server: ServerChannel?
  private var upstream: HTTPBridge?

  private var scanner = MessageScanner(side: .frontend)
  private var lastHeard: UInt64 = 0
  private var lastDrained: UInt64 = 0
  private var isStallWatched = false
  private var hasTerminated = false
  private var bytesReceived: UInt64 = 0
  private var bytesSent: UInt64 = 0

  /// Bytes that may wait for the client before the database is no longer read.
  static let highMark = 256 * 1024
  static let lowMark = 64 * 1024

  init(worker: Worker, address: String) {
    self.address = address
    super.init(worker: worker)
  }

  func begin() {
    worker.clientCount += 1
    worker.loginCount += 1
    setDeadline(.startup, worker.settings.startupDeadline)
    resumeReceiving()
  }

  // MARK: Incoming

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    switch phase {
    case .relay: relay(bytes)
    case .http: forwardHTTP(bytes)
    case .greeting, .startup: readStartup(bytes)
    // Until ReadyForQuery the protocol gives the client nothing to say.
    case .login: refuse(WireError(.protocolViolation, "message received before the login was complete"))
    case .over: break
    }
  }

  private func readStartup(_ bytes: UnsafeRawBufferPointer) {
    if phase == .greeting, pending.isEmpty, bytes.first == Self.tlsHandshakeRecord, !hasAskedForTLS {
      return secureAsServer(worker.settings.directTLS, requiresALPN: true, first: bytes)
    }
    guard pending.count + bytes.count <= StartupPacket.maximumLength else { return reject() }
    pending.append(contentsOf: bytes)
    do {
      guard let (request, consumed) = try pending.withUnsafeBytes({ try StartupPacket.parse($0) }) else { return }
      // Nothing may stand behind a first packet: before TLS it could only be an attacker's, after it a client that
      // does not wait for its answer.
      guard consumed == pending.count else {
        throw WireError(.protocolViolation, "received data after the startup packet")
      }
      pending = []
      try answer(request)
    } catch let error as WireError {
      phase == .startup ? refuse(error) : reject()
    } catch {
      reject()
    }
  }

  /// First byte of a TLS record that holds a ClientHello (RFC 8446 section 5.1).
  private static let tlsHandshakeRecord: UInt8 = 0x16

  private func answer(_ request: StartupRequest) throws {
    switch request {
    case .ssl:
      guard phase == .greeting, !hasAskedForTLS else {
        throw WireError(.protocolViolation, "TLS was asked for twice")
      }
      hasAskedForTLS = true
      write([UInt8(ascii: "S")])
      secureAsServer(worker.settings.postgresTLS, requiresALPN: false, first: nil)
    case .gssEncryption:
      guard phase == .greeting, !hasAskedForGSS else {
        throw WireError(.protocolViolation, "GSS encryption is not offered")
      }
      hasAskedForGSS = true
      write([UInt8(ascii: "N")])
    case .cancel(let processID, let secret):
      cancel(processID: processID, secret: secret)
      // Whatever came of it, the answer is the same: the end of the connection, over TLS with its close_notify.
      phase = .over
      finish()
    case .startup(let parameters, _):
      guard phase == .startup else {
        refuse(
          WireError(
            .invalidAuthorization, "TLS is required",
            hint: "Connect with sslmode=verify-full and the certificate that 'tsh db login' stored."))
        return
      }
      try login(parameters)
    }
  }

  override func secured() {
    guard phase == .greeting else { return }
    if tls?.negotiatedProtocol == "http/1.1" {
      startHTTP()
    } else {
      phase = .startup
    }
  }

  // MARK: Login

  private func login(_ parameters: StartupParameters) throws {
    if let answer = parameters.negotiation { write(answer) }
    guard let certificate = tls?.peerCertificateDER else {
      throw WireError(
        .invalidAuthorization, "a client certificate is required",
        hint: "Run 'tsh login' and 'tsh db login', and connect with the certificate they store.")
    }
    guard !parameters.user.isEmpty else {
      throw WireError(.invalidAuthorization, "no database user name was given in the startup packet")
    }
    startup = parameters
    phase = .login
    setDeadline(.login, worker.settings.loginDeadline)
    authorize(
      SessionRequest(
        certificate: certificate, user: parameters.user, database: parameters.database,
        wantsReplication: parameters.wantsReplication, applicationName: parameters.applicationName,
        clientAddress: address))
  }

  private func authorize(_ request: SessionRequest) {
    self.request = request
    let (handle, mailbox, gateway) = (handle, reactor.mailbox, worker.gateway)
    gateway.pool.run {
      let decision = await gateway.authorizer.authorize(request)
      // A full mailbox leaves the login to its deadline.
      mailbox.post { reactor in
        if let client = reactor.channel(handle) as? ClientChannel {
          client.decided(decision)
        } else if case .success(let grant) = decision {
          let failure = WireError(.connectionFailure, "the client left before the login was complete")
          gateway.report { $0.sessionStarted(grant.sessionID, failure: failure) }
        }
      }
    }
  }

  private func decided(_ decision: Result<SessionGrant, WireError>) {
    guard phase == .login else { return }
    switch decision {
    case .failure(let error): refuse(error)
    case .success(let grant):
      self.grant = grant
      do {
        guard let startup else { return }
        let packet = try startup.relayed(user: grant.user, database: grant.database)
        ServerChannel.dial(grant, startup: packet, client: self)
      } catch {
        refuse(error)
      }
    }
  }

  /// The server leg was opened (again, when an earlier address did not answer).
  func attach(_ server: ServerChannel) { self.server = server }

  /// The database refused or could not be reached.
  func serverFailed(_ error: WireError, rejectedPassword: Bool) {
    guard phase == .login, let grant else { return }
    server = nil
    worker.gateway.report { $0.sessionStarted(grant.sessionID, failure: error) }
    self.grant = nil
    if rejectedPassword, grant.isPasswordCached, var request, request.rejectedPassword == nil {
      request.rejectedPassword = grant.password
      return authorize(request)
    }
    refuse(error)
  }

  /// The database let us in: the client is told so, with a cancel key of ours in place of the database's.
  func serverReady(_ login: LoginCollector, from server: ServerChannel) {
    guard phase == .login, let grant else { return server.close() }
    let key = worker.cancelKeys.issue(for: handle)
    cancelKey = key
    var answer = Encode.authenticationOk()
    answer += login.parameterStatus
    answer += Encode.backendKeyData(processID: key.processID, secret: key.secret)
    answer += Encode.readyForQuery(status: login.transactionStatus)
    write(answer)
    phase = .relay
    endLogin()
    startup = nil
    request = nil
    lastHeard = reactor.now
    if let idle = grant.idleTimeout { _ = reactor.startTimer(for: self, tag: Tag.idle.rawValue, after: idle) }
    if let lifetime = grant.lifetime {
      _ = reactor.startTimer(for: self, tag: Tag.lifetime.rawValue, after: lifetime)
    }
    worker.gateway.report { $0.sessionStarted(grant.sessionID, failure: nil) }
  }

  // MARK: Relay

  private func relay(_ bytes: UnsafeRawBufferPointer) {
    guard let server, !hasTerminated else { return }
    lastHeard = reactor.now
    bytesReceived &+= UInt64(bytes.count)
    do {
      let scan = try scanner.scan(bytes)
      if let end = scan.terminateEnd {
        hasTerminated = true
        server.write(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
        endSession("client terminated")
        return
      }
    } catch {
      return endSession("protocol violation by the client", telling: error)
    }
    server.write(bytes)
    if server.queuedBytes > Self.highMark {
      pauseReceiving()
      server.notifyWhenQueued(atMost: Self.lowMark)
    }
  }

  /// Bytes of the database, unchanged. Returns whether the client keeps up.
  func deliver(_ bytes: UnsafeRawBufferPointer) -> Bool {
    lastHeard = reactor.now
    bytesSent &+= UInt64(bytes.count)
    write(bytes)
    guard queuedBytes > Self.highMark else { return true }
    notifyWhenQueued(atMost: Self.lowMark)
    lastDrained = reactor.now
    if !isStallWatched {
      isStallWatched = true
      _ = reactor.startTimer(for: self, tag: Tag.stall.rawValue, after: worker.settings.stallDeadline)
    }
    return false
  }

  override func drained() {
    lastDrained = reactor.now
    server?.resumeReceiving()
    upstream?.resumeReceiving()
  }

  /// The database closed its end. At a message boundary the client can be told why; within one it can only be cut.
  func serverEnded(saying error: WireError?) {
    endSession("database closed the connection", telling: hasTerminated ? nil : error)
  }

  // MARK: Cancel

  private func cancel(processID: UInt32, secret: [UInt8]) {
    guard tls != nil || worker.settings.allowsCancelInClear, secret.count == 4 else { return }
    let value = secret.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    let key = CancelKeys.Key(processID: processID, secret: value)
    let (source, certificate) = (address, tls?.peerCertificateDER)
    worker.peers.owner(ofProcessID: processID)?.post { reactor in
      guard let worker = Worker.of(reactor),
        let handle = worker.cancelKeys.session(for: key, from: source, now: reactor.now),
        let session = reactor.channel(handle) as? ClientChannel
      else { return }
      session.cancelQuery(askedWith: certificate)
    }
  }

  /// Someone showed this session's key. With a certificate, it must be of the same user.
  private func cancelQuery(askedWith certificate: [UInt8]?) {
    guard phase == .relay, let grant, let backendKey = server?.backendKey else { return }
    if let certificate, let own = tls?.peerCertificateDER, certificate != own {
      let authorizer = worker.gateway.authorizer
      guard let user = authorizer.userName(certificate: own), user == authorizer.userName(certificate: certificate)
      else { return }
    }
    CancelChannel.send(backendKey, grant: grant, address: server?.address, worker: worker)
  }

  // MARK: HTTP

  private func startHTTP() {
    guard let http = worker.settings.http,
      let upstream = HTTPBridge.open(http, certificate: tls?.peerCertificateDER, client: self)
    else { return finish() }
    phase = .http
    self.upstream = upstream
    endLogin()
    setDeadline(.idle, Self.httpIdle)
    lastHeard = reactor.now
  }

  /// Milliseconds an HTTPS connection may be silent.
  private static let httpIdle: UInt64 = 75_000

  private func forwardHTTP(_ bytes: UnsafeRawBufferPointer) {
    guard let upstream else { return close() }
    lastHeard = reactor.now
    upstream.send(bytes)
    if upstream.queuedBytes > Self.highMark {
      pauseReceiving()
      upstream.notifyWhenQueued(atMost: Self.lowMark)
    }
  }

  // MARK: Ends

  override func plaintextEnded() {
    switch phase {
    case .relay:
      // Nobody will read the answer: a running query is cancelled rather than left to burn.
      if !hasTerminated { cancelQuery(askedWith: nil) }
      server?.write(Encode.terminate())
      endSession("client closed the connection")
    case .http: upstream?.sendEnd()
    default: close()
    }
  }

  override func failed(errno: Int32) { endSession("client connection lost: \(SystemError.text(errno))") }

  override func tlsFailed(_ failure: TLSFailure) {
    if phase == .relay { endSession("TLS with the client failed: \(failure.message)") } else { closeAfterSending() }
  }

  override func timerFired(tag: UInt8) {
    switch Tag(rawValue: tag) {
    case .startup:
      phase == .startup ? refuse(WireError(.protocolViolation, "the startup packet did not come in time")) : close()
    case .login:
      refuse(
        WireError(
          .connectionFailure, "the login was not complete in time",
          hint: "Try again; ask the administrator if it persists."))
    case .idle: checkIdle()
    case .lifetime:
      endSession(
        "certificate expired",
        telling: WireError(.adminShutdown, "the certificate has expired", hint: "Run 'tsh login' and connect again."))
    case .stall: checkStall()
    case nil: break
    }
  }

  private func checkIdle() {
    let limit = phase == .http ? Self.httpIdle : grant?.idleTimeout ?? .max
    let silent = reactor.now - lastHeard
    guard silent >= limit else {
      _ = reactor.startTimer(for: self, tag: Tag.idle.rawValue, after: limit - silent)
      return
    }
    endSession("idle", telling: WireError(.idleSessionTimeout, "the session was idle for too long"))
  }

  private func checkStall() {
    let limit = worker.settings.stallDeadline
    isStallWatched = false
    guard queuedBytes > Self.lowMark else { return }
    let stalled = reactor.now - lastDrained
    if stalled >= limit { return endSession("stalled") }
    isStallWatched = true
    _ = reactor.startTimer(for: self, tag: Tag.stall.rawValue, after: limit - stalled)
  }

  override func reactorStopping() {
    if phase == .greeting { return close() }
    endSession(
      "shutdown",
      telling: WireError(.adminShutdown, "the server is shutting down", hint: "Connect again in a moment."))
  }

  /// Ends without a word: the peer does not speak a protocol of ours.
  private func reject() {
    phase = .over
    close()
  }

  /// Ends before the relay with an ErrorResponse.
  private func refuse(_ error: WireError) {
    endSession("refused", telling: error)
  }

  private func endSession(_ reason: String, telling error: WireError? = nil) {
    guard phase != .over else { return }
    // An error can be put between messages only; the scanner of the other direction knows where it stands.
    let canTell = phase == .relay ? server?.isAtMessageBoundary ?? true : phase != .http
    if let error, canTell { write(Encode.errorResponse(error, severity: .fatal)) }
    if phase == .relay, let grant {
      let summary = SessionSummary(
        sessionID: grant.sessionID, reason: reason, bytesFromClient: bytesReceived, bytesFromServer: bytesSent)
      worker.gateway.report { $0.sessionEnded(summary) }
    } else if phase == .login, let grant {
      let failure = error ?? WireError(.connectionFailure, reason)
      worker.gateway.report { $0.sessionStarted(grant.sessionID, failure: failure) }
    }
    phase = .over
    server?.clientEnded()
    upstream?.close()
    finish()
  }

  override func willClose() {
    if phase != .over { endSession("client connection closed") }
    if let cancelKey { worker.cancelKeys.revoke(cancelKey) }
    server = nil
    upstream = nil
    endLogin()
    worker.clientCount -= 1
  }

  private func endLogin() {
    if let deadline { reactor.cancel(deadline) }
    deadline = nil
    if countsAsLogin { worker.loginCount -= 1 }
    countsAsLogin = false
  }

  private func setDeadline(_ tag: Tag, _ milliseconds: UInt64) {
    if let deadline { reactor.cancel(deadline) }
    deadline = reactor.startTimer(for: self, tag: tag.rawValue, after: milliseconds)
  }
}
