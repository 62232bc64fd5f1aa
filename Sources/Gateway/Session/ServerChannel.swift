import Glibc
import PostgresWire
import Reactor
import Secrets
import TLS
import TLSTransport

/// The connection to a database: dial, TLS and authentication for its owner, then the relay for a client; between two
/// clients it is its pool's.
final class ServerChannel: ServerLeg {
  enum Phase { case connecting, tlsAnswer, handshake, authentication, settling, ready, relay, pooled, over }

  private enum Tag: UInt8 {
    case connect = 1
    case silence, pool
  }

  /// Milliseconds one address may take to answer before the next is tried.
  private static let connectDeadline: UInt64 = 5_000

  let address: SocketAddress
  let login: ServerLogin
  let startup: [UInt8]
  private let remaining: ArraySlice<SocketAddress>
  /// Who hears of the login, until a client has the connection.
  var owner: (any ServerOwner)?
  private var client: ClientLeg?
  /// Its life beyond one client.
  private(set) var pooled: PooledServer?
  var phase = Phase.connecting
  // Of the login: see ServerChannelLogin.swift.
  var authentication: ServerAuthentication?
  var reader = BackendMessageReader()
  var collector = LoginCollector()
  private var scanner = MessageScanner(side: .backend)
  /// Runs while the login waits for the database, not while it waits for us.
  private var silence: Reactor.Timer?

  override var isAtMessageBoundary: Bool { scanner.isAtMessageBoundary }

  override var backendState: MessageScanner.BackendState { scanner.backendState }
  override func isIdle(afterRequests requests: UInt64) -> Bool {
    phase == .relay && scanner.cycles == requests && scanner.isAtMessageBoundary && backendState == .readyForQuery
      && (scanner.transactionStatus ?? collector.greeting.transactionStatus) == UInt8(ascii: "I")
  }

  override func cancelQuery() {
    guard phase == .relay, let key = collector.backendKey else { return }
    if CancelChannel.send(key, login, address, for: self) { pooled?.cancelBegan() }
  }

  /// Connects to the first of the login's addresses that answers and logs in; `owner` hears of the outcome.
  ///
  /// - Parameter pool: takes the connection when its client leaves.
  static func dial(
    _ login: ServerLogin, startup: [UInt8], owner: any ServerOwner, worker: Worker, pool: PoolMembership? = nil
  ) {
    dial(login, login.addresses[...], startup: startup, owner, worker, pool, earlier: nil)
  }

  private static func dial(
    _ login: ServerLogin, _ addresses: ArraySlice<SocketAddress>, startup: [UInt8], _ owner: any ServerOwner,
    _ worker: Worker, _ pool: PoolMembership?, earlier: String?
  ) {
    guard let address = addresses.first else {
      return owner.serverFailed(
        WireError(
          .cannotConnect, "cannot reach the database: \(earlier ?? "its name has no usable address")",
          hint: "Check that the database service can reach the endpoint: security groups, routes, 'nc -zv HOST PORT'."),
        rejectedPassword: false, at: .connection)
    }
    let server = ServerChannel(login, address, addresses.dropFirst(), startup: startup, owner, worker)
    do {
      let descriptor = try server.reactor.sockets.open(address.family)
      try worker.reactor.add(server, descriptor: descriptor)
      if address.family != AF_UNIX { try server.reactor.sockets.tuneForSession(descriptor) }
    } catch {
      server.owner = nil
      server.close()
      return dial(login, addresses.dropFirst(), startup: startup, owner, worker, pool, earlier: "\(error)")
    }
    server.pooled = pool.map { PooledServer(server, $0, validity: login.validity) }
    owner.attach(server)
    _ = server.reactor.startTimer(for: server, tag: Tag.connect.rawValue, after: connectDeadline)
    server.reactor.connect(server, to: address)
  }

  private init(
    _ login: ServerLogin, _ address: SocketAddress, _ remaining: ArraySlice<SocketAddress>, startup: [UInt8],
    _ owner: any ServerOwner, _ worker: Worker
  ) {
    self.login = login
    self.address = address
    self.remaining = remaining
    self.startup = startup
    self.owner = owner
    super.init(worker: worker)
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
    case .pool: pooled?.timerFired()
    case nil: break
    }
  }

  // MARK: Silence

  /// The next word is the database's: waits for it from now on, in place of any earlier wait.
  func expectAnswer() {
    endWait()
    silence = reactor.startTimer(for: self, tag: Tag.silence.rawValue, after: worker.settings.databaseDeadline)
  }

  func endWait() {
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
    case .connecting, .ready, .relay, .pooled, .over: return
    }
    fail(
      WireError(
        .cannotConnect, "the database did not \(missing) within \(worker.settings.databaseDeadline / 1000) s",
        hint: "Check that the uri leads to a PostgreSQL or Redshift endpoint and that it is not overloaded."),
      wasSilent: true)
  }

  private func tryNext(_ reason: String) {
    guard let owner, phase == .connecting else { return }
    phase = .over
    self.owner = nil
    let pool = pooled?.membership
    close()
    Self.dial(login, remaining, startup: startup, owner, worker, pool, earlier: reason)
  }

  // MARK: Incoming

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    switch phase {
    case .relay: relay(bytes)
    case .tlsAnswer: readTLSAnswer(bytes)
    case .authentication, .settling: readLogin(bytes)
    case .ready: keep(bytes)
    case .pooled: pooled?.received(bytes)
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
    if let pooled { return pooled.relay(bytes, to: client) }
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
    secureAsClient(login.tls, serverName: login.serverName, resumingWith: address)
  }

  override func secured() {
    guard phase == .handshake, let tls else { return }
    phase = .authentication
    worker.counters.databaseHandshakes.completed &+= 1
    authentication = ServerAuthentication(
      user: login.user, password: login.password, tlsServerEndPoint: tls.serverEndPointHash,
      isTLSVerified: tls.isPeerVerified)
    write(startup)
    expectAnswer()
  }

  // MARK: Session

  /// The session of `client` begins.
  func begin(for client: ClientLeg) {
    guard phase == .ready else { return }
    phase = .relay
    owner = nil
    self.client = client
    let rest = reader.takeRest()
    client.serverReady(pooled?.greeting ?? collector.greeting, from: self)
    if !rest.isEmpty { rest.withUnsafeBytes { relay($0) } }
    // What came with it may have filled the client's queue: then that resumes us.
    if phase == .relay, client.queuedBytes <= ClientLeg.highMark { resumeReceiving() }
  }

  // MARK: Pool

  override func release() -> Bool {
    guard let pooled, !worker.isDraining else { return false }
    phase = .pooled
    client = nil
    resumeReceiving()
    pooled.release()
    return true
  }

  /// Relays for `client`, whose session runs, from now on.
  func serve(_ client: ClientLeg) {
    phase = .relay
    self.client = client
    resumeReceiving()
  }

  /// Nobody needs the connection for now: it is the pool's.
  func giveBack() {
    guard phase == .ready || phase == .relay || phase == .pooled else { return }
    phase = .pooled
    owner = nil
    client = nil
    // What the database has said since its login is over has nobody to read it.
    guard reader.takeRest().isEmpty else {
      pooled?.discard(.unexpected)
      return
    }
    resumeReceiving()
    pooled?.release()
  }

  /// The pool gives the connection to another owner, as if it had just been logged in.
  func lend(to owner: any ServerOwner) {
    guard phase == .pooled else { return }
    phase = .ready
    self.owner = owner
    scanner = MessageScanner(side: .backend)
    pauseReceiving()
  }

  func startPoolTimer(after milliseconds: UInt64) -> Reactor.Timer {
    reactor.startTimer(for: self, tag: Tag.pool.rawValue, after: milliseconds)
  }

  /// Says goodbye to the database; the pool has forgotten the connection.
  func discard() {
    phase = .over
    write(Encode.terminate())
    finish()
  }

  // MARK: Ends

  /// The client's channel says goodbye for both: closing here first would take its last word away. So would closing
  /// while the last word of a client that has gone is still on its way out.
  override func reactorStopping() {
    if phase == .pooled {
      pooled?.discard(.shutdown)
    } else if client == nil, !(owner is ClientLeg), queuedBytes == 0 {
      close()
    }
  }

  override func drained() { client?.serverDrained() }

  override func plaintextEnded() {
    switch phase {
    case .relay:
      let saidWhy = scanner.lastType == UInt8(ascii: "E")
      end(saying: saidWhy ? nil : WireError(.connectionFailure, "the database closed the connection unexpectedly"))
    case .connecting: tryNext("connection closed")
    case .over, .pooled: close()
    default: fail(WireError(.cannotConnect, "the database closed the connection during the login"))
    }
  }

  override func failed(errno: Int32) {
    switch phase {
    case .relay:
      end(saying: WireError(.connectionFailure, "the connection to the database was lost: \(SystemError.text(errno))"))
    case .connecting: tryNext(SystemError.text(errno))
    case .over, .pooled: close()
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
    case .over, .pooled: close()
    default: fail(Self.loginFailure(failure, presentsCertificate: login.tls.hasCertificate))
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

  func fail(_ error: WireError, rejectedPassword: Bool = false, wasSilent: Bool = false) {
    if phase == .handshake, let owner, giveUpResumption(), !wasSilent {
      // Some servers offer sessions and choke on them. Nothing of the login has been said yet: once more, in full.
      // Whoever waited for a silent one has waited long enough.
      phase = .over
      self.owner = nil
      let pool = pooled?.membership
      close()
      return Self.dial(login, [address] + remaining, startup: startup, owner, worker, pool, earlier: error.message)
    }
    let owner = self.owner
    let link = self.link
    if phase == .ready { pooled?.lost() }
    phase = .over
    self.owner = nil
    finish()
    owner?.serverFailed(error, rejectedPassword: rejectedPassword, at: link)
  }

  /// What a failure in this phase is a failure of; `nil`: none of the database's.
  private var link: LoginLink? {
    switch phase {
    case .connecting: .connection
    case .tlsAnswer, .handshake: .tls
    case .authentication, .settling: .authentication
    case .ready, .relay, .pooled, .over: nil
    }
  }

  private func end(saying error: WireError?) {
    let client = self.client
    self.client = nil
    // First: there is nothing to be cancelled any more.
    phase = .over
    pooled?.lost()
    client?.serverEnded(saying: error)
    close()
  }

  override func clientEnded() {
    client = nil
    owner = nil
    if phase == .ready || phase == .relay || phase == .pooled { pooled?.abandoned() }
    phase = .over
    finish()
  }

  override func willClose() {
    let (client, last) = (self.client, phase)
    (self.client, owner) = (nil, nil)
    phase = .over
    if last == .relay || last == .pooled { pooled?.lost() }
    if last == .relay { client?.serverEnded(saying: nil) }
  }
}
