import PostgresWire
import Reactor
import TLS
import TLSTransport
import TunnelWire

/// A client's connection to the public port: from its first byte to the startup message, or to the HTTP hand-off.
///
/// Stages only move forward: `greeting` (clear, telling protocols apart) → `startup` (TLS is on), then the session's own
/// phases; or from the handshake to `http`.
final class ClientChannel: ClientLeg {
  private enum Stage { case greeting, startup, caller, http }

  private enum Tag: UInt8 {
    case startup = 16
    case httpIdle, httpEnd
  }

  private var stage = Stage.greeting
  private var ticket: Admission.Ticket
  private var opening = ClientOpening()
  private var countsAsLogin = true
  private var startupDeadline: Reactor.Timer?
  private var upstream: HTTPLeg?
  private var callerReader = TunnelReader()
  private var lastHTTP: UInt64 = 0

  init(worker: Worker, address: String, ticket: Admission.Ticket) {
    self.ticket = ticket
    super.init(worker: worker, address: address)
  }

  func begin() {
    worker.clientCount += 1
    worker.loginCount += 1
    startupDeadline = reactor.startTimer(
      for: self, tag: Tag.startup.rawValue, after: worker.settings.startupDeadline)
    resumeReceiving()
  }

  // MARK: Opening

  override func openingReceived(_ bytes: UnsafeRawBufferPointer) {
    switch stage {
    case .greeting, .startup: readStartup(bytes)
    case .caller: readCaller(bytes)
    case .http: forwardHTTP(bytes)
    }
  }

  private func readStartup(_ bytes: UnsafeRawBufferPointer) {
    switch opening.take(bytes) {
    case .wait: break
    case .directTLS: secureAsServer(worker.settings.directTLS, requiresALPN: true, first: bytes)
    case .acceptTLS:
      write([UInt8(ascii: "S")])
      secureAsServer(worker.settings.postgresTLS, requiresALPN: false, first: nil)
    case .declineGSS: write([UInt8(ascii: "N")])
    case .cancel(let processID, let secret):
      cancel(processID: processID, secret: secret)
      // Whatever came of it, the answer is the same: the end of the connection, over TLS with its close_notify.
      endSession("cancel request")
    case .login(let parameters):
      do throws(WireError) { try login(parameters) } catch { refuse(error) }
    case .refuse(let error): refuse(error)
    case .reject: reject()
    }
  }

  override func secured() {
    guard stage == .greeting else { return }
    worker.counters.clientHandshakes.completed &+= 1
    switch tls?.negotiatedProtocol {
    case "http/1.1":
      startHTTP(HTTPCaller(certificate: tls?.peerCertificateDER, address: address, voucher: nil))
    case TunnelMessage.callerProtocol: stage = .caller
    case TunnelMessage.controlProtocol: handOver { TunnelControl.accept(self, entrance: $0) }
    case TunnelMessage.sessionProtocol: handOver { TunnelChannel.accept(self, entrance: $0) }
    default:
      stage = .startup
      opening.isSecured = true
    }
  }

  /// The connection is an agent's: another channel goes on with it.
  private func handOver(_ accept: (TunnelEntrance) -> Void) {
    guard let entrance = worker.settings.tunnel else { return close() }
    cancelStartupDeadline()
    worker.gateway.admission.authenticate(&ticket)
    accept(entrance)
  }

  // MARK: Login

  private func login(_ parameters: StartupParameters) throws(WireError) {
    guard !worker.isDraining else { throw Worker.shutdown }
    if let answer = parameters.negotiation { write(answer) }
    guard let certificate = tls?.peerCertificateDER else {
      throw WireError(
        .invalidAuthorization, "a client certificate is required",
        hint: "Run 'tsh login' and 'tsh db login', and connect with the certificate they store.")
    }
    guard !parameters.user.isEmpty else {
      throw WireError(.invalidAuthorization, "no database user name was given in the startup packet")
    }
    cancelStartupDeadline()
    worker.gateway.admission.authenticate(&ticket)
    guard !ticket.isExcess else {
      throw WireError(
        .tooManyConnections, "too many connections from \(address), or in all",
        hint: "Close some; the limits are teleport.connection_limits of the proxy's configuration.")
    }
    login(parameters, certificate: certificate)
  }

  override func loginOver() {
    if countsAsLogin { worker.loginCount -= 1 }
    countsAsLogin = false
  }

  private func cancelStartupDeadline() {
    if let startupDeadline { reactor.cancel(startupDeadline) }
    startupDeadline = nil
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
        let session = reactor.channel(handle) as? ClientLeg
      else { return }
      session.cancelQuery(askedWith: certificate, from: source)
    }
  }

  // MARK: HTTP

  /// A proxy says first whom it speaks for.
  private func readCaller(_ bytes: UnsafeRawBufferPointer) {
    callerReader.append(bytes)
    do throws(WireError) {
      guard let message = try callerReader.next() else { return }
      guard case .caller(let certificate, let caller) = message, let voucher = tls?.peerCertificateDER else {
        return reject()
      }
      startHTTP(HTTPCaller(certificate: certificate.isEmpty ? nil : certificate, address: caller, voucher: voucher))
      let rest = callerReader.takeRest()
      if !rest.isEmpty { rest.withUnsafeBytes { forwardHTTP($0) } }
    } catch {
      reject()
    }
  }

  private func startHTTP(_ caller: HTTPCaller) {
    if tls?.peerCertificateDER != nil { worker.gateway.admission.authenticate(&ticket) }
    guard !ticket.isExcess, let upstream = worker.settings.http?.open(caller, client: self) else { return finish() }
    stage = .http
    self.upstream = upstream
    cancelStartupDeadline()
    loginOver()
    lastHTTP = reactor.now
    _ = reactor.startTimer(for: self, tag: Tag.httpIdle.rawValue, after: Self.httpIdle)
  }

  /// Another Auth Service is tried, or there is none left.
  func replaceUpstream(_ upstream: HTTPLeg?) {
    self.upstream = upstream
    if upstream == nil { finish() }
  }

  /// Milliseconds an HTTPS connection may be silent.
  private static let httpIdle: UInt64 = 75_000
  /// And while the server drains, or after the client's goodbye.
  private static let httpPause: UInt64 = 1_000

  private func forwardHTTP(_ bytes: UnsafeRawBufferPointer) {
    guard let upstream else { return close() }
    lastHTTP = reactor.now
    upstream.forward(bytes)
    if upstream.queuedBytes > Self.highMark {
      pauseReceiving()
      upstream.notifyWhenQueued(atMost: Self.lowMark)
    }
  }

  /// The HTTP server's answer. Returns whether the client keeps up.
  func deliverHTTP(_ bytes: UnsafeRawBufferPointer) -> Bool {
    lastHTTP = reactor.now
    return deliver(bytes)
  }

  override func drained() {
    super.drained()
    upstream?.resumeReceiving()
  }

  // MARK: Ends

  override func openingEnded() {
    guard stage == .http else { return close() }
    // What was asked last may be answered still; whoever waits for news of the cluster would keep the connection for long,
    // and itself from ending, since it waits for our goodbye.
    upstream?.sendEnd()
    _ = reactor.startTimer(for: self, tag: Tag.httpEnd.rawValue, after: Self.httpPause)
  }

  override func timerFired(tag: UInt8) {
    switch Tag(rawValue: tag) {
    case .startup:
      stage == .startup ? refuse(WireError(.protocolViolation, "the startup packet did not come in time")) : close()
    case .httpIdle: checkHTTPIdle()
    case .httpEnd: finish()
    case nil: super.timerFired(tag: tag)
    }
  }

  private func checkHTTPIdle() {
    let silent = reactor.now - lastHTTP
    guard silent < Self.httpIdle else { return close() }
    _ = reactor.startTimer(for: self, tag: Tag.httpIdle.rawValue, after: Self.httpIdle - silent)
  }

  override func reactorStopping() {
    if phase == .opening, stage == .greeting { close() } else { super.reactorStopping() }
  }

  override func tlsFailed(_ failure: TLSFailure) {
    if phase == .opening, stage == .greeting { worker.counters.clientHandshakes.fail(failure) }
    super.tlsFailed(failure)
  }

  override func drain(silentFor silence: UInt64) {
    guard phase == .opening else { return super.drain(silentFor: silence) }
    switch stage {
    case .greeting, .caller: close()
    case .startup: refuse(Worker.shutdown)
    // Between two requests of the API; one that is being answered goes on.
    case .http: if reactor.now - lastHTTP >= Self.httpPause { finish() }
    }
  }

  /// Only a peer that speaks Postgres can be told an error.
  override func announceEnd(_ error: WireError) {
    if stage != .http, stage != .caller { super.announceEnd(error) }
  }

  /// Ends without a word: the peer does not speak a protocol of ours.
  private func reject() { close() }

  override func willClose() {
    super.willClose()
    cancelStartupDeadline()
    upstream?.close()
    upstream = nil
    worker.gateway.admission.release(ticket)
    worker.clientCount -= 1
  }
}
