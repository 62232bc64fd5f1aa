import Glibc
import PostgresWire
import Reactor
import Secrets
import TLS
import TLSTransport

/// The connection to the database on behalf of one client: dial, TLS, authentication, then the relay.
final class ServerChannel: ServerLeg {
  private enum Phase { case connecting, tlsAnswer, handshake, authentication, settling, recording, relay, over }

  private enum Tag: UInt8 {
    case connect = 1
    case silence
  }

  /// Milliseconds one address may take to answer before the next is tried.
  private static let connectDeadline: UInt64 = 5_000

  let address: SocketAddress
  private let grant: SessionGrant
  private let startup: [UInt8]
  private let remaining: ArraySlice<SocketAddress>
  private var client: ClientLeg?
  private var phase = Phase.connecting
  private var authentication: ServerAuthentication?
  private var reader = BackendMessageReader()
  private var collector = LoginCollector()
  private var scanner = MessageScanner(side: .backend)
  /// Runs while the login waits for the database, not while it waits for us.
  private var silence: Reactor.Timer?

  override var isAtMessageBoundary: Bool { scanner.isAtMessageBoundary }

  override var backendState: MessageScanner.BackendState { scanner.backendState }
  override func isIdle(afterRequests requests: UInt64) -> Bool {
    phase == .relay && scanner.cycles == requests && scanner.isAtMessageBoundary
      && (scanner.transactionStatus ?? collector.greeting.transactionStatus) == UInt8(ascii: "I")
  }

  override func cancelQuery() {
    guard phase == .relay, let key = collector.backendKey else { return }
    CancelChannel.send(key, grant: grant, address: address, worker: worker)
  }

  /// Connects to the first of the grant's addresses that answers and logs in; the client hears of the outcome.
  static func dial(_ grant: SessionGrant, startup: [UInt8], client: ClientLeg) {
    dial(grant, grant.addresses[...], startup: startup, client: client, earlier: nil)
  }

  private static func dial(
    _ grant: SessionGrant, _ addresses: ArraySlice<SocketAddress>, startup: [UInt8], client: ClientLeg,
    earlier: String?
  ) {
    guard let address = addresses.first else {
      let error = WireError(
        .cannotConnect, "cannot reach the database: \(earlier ?? "its name has no usable address")",
        hint: "Check that the database service can reach the endpoint: security groups, routes, 'nc -zv HOST PORT'.")
      return client.serverFailed(error.at(.connection, session: grant.sessionID), rejectedPassword: false)
    }
    let server = ServerChannel(grant, address, addresses.dropFirst(), startup: startup, client: client)
    do {
      let descriptor = try server.reactor.sockets.open(address.family)
      try client.worker.reactor.add(server, descriptor: descriptor)
      if address.family != AF_UNIX { try server.reactor.sockets.tuneForSession(descriptor) }
    } catch {
      server.client = nil
      server.close()
      return dial(grant, addresses.dropFirst(), startup: startup, client: client, earlier: "\(error)")
    }
    client.attach(server)
    _ = server.reactor.startTimer(for: server, tag: Tag.connect.rawValue, after: connectDeadline)
    server.reactor.connect(server, to: address)
  }

  private init(
    _ grant: SessionGrant, _ address: SocketAddress, _ remaining: ArraySlice<SocketAddress>, startup: [UInt8],
    client: ClientLeg
  ) {
    self.grant = grant
    self.address = address
    self.remaining = remaining
    self.startup = startup
    self.client = client
    super.init(worker: client.worker)
  }

  // MARK: Connecting

  override func connected(errno: Int32) {
    guard errno == 0 else { return tryNext(SystemError.text(errno)) }
    phase = .tlsAnswer
    resumeReceiving()
    write(Encode.sslRequest())
    expectAnswer()
  }

  override func timerFired(tag: UInt8) {
    switch Tag(rawValue: tag) {
    case .connect: if phase == .connecting { tryNext("\(address) did not answer in time") }
    case .silence: checkSilence()
    case nil: break
    }
  }

  // MARK: Silence

  /// The next word is the database's: waits for it from now on, in place of any earlier wait.
  private func expectAnswer() {
    endWait()
    silence = reactor.startTimer(for: self, tag: Tag.silence.rawValue, after: worker.settings.databaseDeadline)
  }

  private func endWait() {
    if let silence { reactor.cancel(silence) }
    silence = nil
  }

  private func checkSilence() {
    let missing: String
    switch phase {
    case .tlsAnswer: missing = "answer whether it does TLS"
    case .handshake: missing = "go on with the TLS handshake"
    case .authentication: missing = "go on with the authentication"
    case .settling: missing = "become ready after the authentication"
    case .connecting, .recording, .relay, .over: return
    }
    fail(
      WireError(
        .cannotConnect, "the database did not \(missing) within \(worker.settings.databaseDeadline / 1000) s",
        hint: "Check that the uri leads to a PostgreSQL or Redshift endpoint and that it is not overloaded."))
  }

  private func tryNext(_ reason: String) {
    guard let client, phase == .connecting else { return }
    phase = .over
    self.client = nil
    close()
    Self.dial(grant, remaining, startup: startup, client: client, earlier: reason)
  }

  // MARK: Incoming

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    switch phase {
    case .relay: relay(bytes)
    case .tlsAnswer: readTLSAnswer(bytes)
    case .authentication, .settling: readLogin(bytes)
    case .recording: keep(bytes)
    case .connecting, .handshake, .over: break
    }
  }

  private func relay(_ bytes: UnsafeRawBufferPointer) {
    guard let client else { return }
    do {
      _ = try scanner.scan(bytes)
    } catch {
      // What came before is whole: with it the client stands between two messages, where an error can be put.
      let valid = UnsafeRawBufferPointer(rebasing: bytes[..<scanner.acceptedPrefix])
      if !valid.isEmpty { _ = client.deliver(valid) }
      return end(saying: WireError(.connectionFailure, "the database broke the protocol: \(error.message)"))
    }
    if !client.deliver(bytes) { pauseReceiving() }
  }

  private func readTLSAnswer(_ bytes: UnsafeRawBufferPointer) {
    // Exactly one byte: what follows an 'S' in the clear could only come from someone in between. The text of an
    // unencrypted error is not to be trusted, so it is not shown either.
    guard bytes.count == 1, bytes[0] == UInt8(ascii: "S") else {
      let reason =
        bytes.first == UInt8(ascii: "S")
        ? "the database sent bytes in the clear after agreeing to TLS" : "the database refused TLS"
      return fail(
        WireError(
          .cannotConnect, reason, hint: "Sallyport never falls back to an unencrypted connection: enable TLS there."))
    }
    phase = .handshake
    expectAnswer()
    secureAsClient(grant.tls, serverName: grant.serverName, resumingWith: address)
  }

  override func secured() {
    guard phase == .handshake, let tls else { return }
    phase = .authentication
    worker.counters.databaseHandshakes.completed &+= 1
    authentication = ServerAuthentication(
      user: grant.user, password: grant.password, tlsServerEndPoint: tls.serverEndPointHash(),
      isTLSVerified: tls.isPeerVerified)
    write(startup)
    expectAnswer()
  }

  // MARK: Login

  private func readLogin(_ bytes: UnsafeRawBufferPointer) {
    expectAnswer()
    do {
      try reader.append(bytes)
      while phase == .authentication || phase == .settling, let message = try reader.next() {
        try phase == .authentication ? authenticate(message) : settle(message)
      }
    } catch let failure as AuthenticationFailure {
      fail(failure.wireError(user: grant.user), rejectedPassword: failure.isPasswordRejected)
    } catch let error as WireError {
      fail(WireError(.connectionFailure, "the database broke the protocol: \(error.message)"))
    } catch {
      fail(WireError(.internalError, "login at the database failed"))
    }
  }

  private func authenticate(_ message: BackendMessageReader.Message) throws {
    guard let step = try authentication?.handle(type: message.type, body: message.body) else { return }
    perform(step)
  }

  private func perform(_ step: ServerAuthentication.Step) {
    switch step {
    case .send(let bytes): write(bytes)
    case .wait: break
    case .authenticated: phase = .settling
    case .derive(let derivation):
      endWait()
      let (handle, mailbox, deriveKeys) = (handle, reactor.mailbox, grant.deriveKeys)
      worker.gateway.pool.run {
        let keys = Result { () throws(AuthenticationFailure) in try deriveKeys(derivation) }
        // A full mailbox leaves the login to its deadline.
        mailbox.post { reactor in (reactor.channel(handle) as? ServerChannel)?.derived(keys) }
      }
    }
  }

  private func derived(_ keys: Result<ScramKeys, AuthenticationFailure>) {
    guard phase == .authentication else { return }
    do {
      guard let step = try authentication?.resume(with: keys.get()) else { return }
      perform(step)
      expectAnswer()
    } catch {
      fail(error.wireError(user: grant.user))
    }
  }

  private func settle(_ message: BackendMessageReader.Message) throws {
    guard try collector.handle(type: message.type, body: message.body) else { return }
    phase = .recording
    authentication = nil
    endWait()
    // No byte of the session flows before its start is on record.
    pauseReceiving()
    let (handle, mailbox, gateway, sessionID) = (handle, reactor.mailbox, worker.gateway, grant.sessionID)
    gateway.pool.run {
      let refusal = await gateway.authorizer.sessionStarting(sessionID)
      // A full mailbox leaves the login to its deadline.
      mailbox.post { reactor in (reactor.channel(handle) as? ServerChannel)?.recorded(refusal) }
    }
  }

  /// What the database says between its ReadyForQuery and the session's beginning: little, if anything.
  private func keep(_ bytes: UnsafeRawBufferPointer) {
    do {
      try reader.append(bytes)
    } catch {
      fail(WireError(.connectionFailure, "the database broke the protocol: \(error.message)"))
    }
  }

  private func recorded(_ refusal: WireError?) {
    guard phase == .recording else { return }
    if let refusal { return fail(refusal) }
    phase = .relay
    let rest = reader.takeRest()
    client?.serverReady(collector.greeting, from: self)
    if !rest.isEmpty { rest.withUnsafeBytes { relay($0) } }
    // What came with it may have filled the client's queue: then that resumes us.
    if phase == .relay, (client?.queuedBytes ?? 0) <= ClientLeg.highMark { resumeReceiving() }
  }

  // MARK: Ends

  /// The client's channel says goodbye for both: closing here first would take its last word away. So would closing
  /// while the last word of a client that has gone is still on its way out.
  override func reactorStopping() {
    if client == nil, queuedBytes == 0 { close() }
  }

  override func drained() { client?.resumeReceiving() }

  override func plaintextEnded() {
    switch phase {
    case .relay:
      let saidWhy = scanner.lastType == UInt8(ascii: "E")
      end(saying: saidWhy ? nil : WireError(.connectionFailure, "the database closed the connection unexpectedly"))
    case .connecting: tryNext("connection closed")
    case .over: close()
    default: fail(WireError(.cannotConnect, "the database closed the connection during the login"))
    }
  }

  override func failed(errno: Int32) {
    switch phase {
    case .relay:
      end(saying: WireError(.connectionFailure, "the connection to the database was lost: \(SystemError.text(errno))"))
    case .connecting: tryNext(SystemError.text(errno))
    case .over: close()
    default:
      fail(WireError(.cannotConnect, "the connection to the database was lost: \(SystemError.text(errno))"))
      // Nothing can be sent any more: no lingering.
      close()
    }
  }

  override func tlsFailed(_ failure: TLSFailure) {
    if phase == .handshake { worker.counters.databaseHandshakes.fail(failure) }
    switch phase {
    case .relay: end(saying: WireError(.connectionFailure, "TLS with the database failed: \(failure.message)"))
    case .over: close()
    default: fail(Self.loginFailure(failure, presentsCertificate: grant.tls.hasCertificate))
    }
  }

  /// With TLS 1.3 a server refuses our certificate after its side of the handshake, in the middle of the login.
  private static func loginFailure(_ failure: TLSFailure, presentsCertificate: Bool) -> WireError {
    guard presentsCertificate, failure.reason == .alertFromPeer else {
      return WireError(.cannotConnect, "TLS with the database failed: \(failure.message)")
    }
    return WireError(
      .invalidAuthorization, "the database refused the client certificate: \(failure.message)",
      hint: "Put what 'tctl auth export --type=db-client' prints into the database's ssl_ca_file and reload it.")
  }

  private func fail(_ error: WireError, rejectedPassword: Bool = false) {
    if phase == .handshake, let client, giveUpResumption() {
      // Some servers offer sessions and choke on them. Nothing of the login has been said yet: once more, in full.
      phase = .over
      self.client = nil
      close()
      return Self.dial(grant, [address] + remaining, startup: startup, client: client, earlier: error.message)
    }
    let client = self.client
    let error = link.map { error.at($0, session: grant.sessionID) } ?? error
    phase = .over
    self.client = nil
    finish()
    client?.serverFailed(error, rejectedPassword: rejectedPassword)
  }

  /// What a failure in this phase is a failure of; `nil`: none of the database's.
  private var link: LoginLink? {
    switch phase {
    case .connecting: .connection
    case .tlsAnswer, .handshake: .tls
    case .authentication, .settling: .authentication
    case .recording, .relay, .over: nil
    }
  }

  private func end(saying error: WireError?) {
    let client = self.client
    self.client = nil
    // First: there is nothing to be cancelled any more.
    phase = .over
    client?.serverEnded(saying: error)
    close()
  }

  override func clientEnded() {
    client = nil
    phase = .over
    finish()
  }

  override func willClose() {
    let (client, wasRelaying) = (self.client, phase == .relay)
    self.client = nil
    phase = .over
    if wasRelaying { client?.serverEnded(saying: nil) }
  }
}
