import PostgresWire
import Reactor
import TLS
import TLSTransport
import TunnelWire

/// The client's half of a session, from the moment it is known who asks for what: decision, login, relay, cancel, ends.
///
/// How the client is reached before that and how it hears of the login's outcome is the subclass's: `ClientChannel` for
/// the public port, `TunnelledClient` for an agent's end of a tunnel. Phases only move forward.
class ClientLeg: TLSChannel, ServerOwner {
  enum Phase { case opening, login, relay, over }

  private enum Tag: UInt8 {
    case login = 1
    case idle, lifetime, stall, wait
  }
  /// Timer tags from here on belong to subclasses.
  static let firstOwnTag: UInt8 = 16

  let worker: Worker
  /// Numeric address of the client.
  final var address: String
  private(set) var phase = Phase.opening
  private var loginDeadline: Reactor.Timer?

  private var startup: StartupParameters?
  private var request: SessionRequest?
  private var grant: SessionGrant?
  /// When the grant came, by the reactor's clock: its lifetime runs from there.
  private var grantedAt: UInt64 = 0
  private var poolGreeting: ServerGreeting?
  private var cancelKey: CancelKeys.Key?
  private(set) var server: ServerLeg?
  /// Has server connections for the time of a transaction only.
  private(set) var transactions: TransactionSession?

  private var scanner = MessageScanner(side: .frontend)
  private var recorder: QueryRecorder?
  /// When either side was last heard, by the reactor's clock, and which one it was.
  private var lastHeard: UInt64 = 0
  private var clientSpokeLast = false
  private var lastDrained: UInt64 = 0
  private var isStallWatched = false
  private var hasTerminated = false
  private var bytesReceived: UInt64 = 0
  private var bytesSent: UInt64 = 0

  /// Bytes that may wait for one side before the other is no longer read.
  static let highMark = 256 * 1024
  static let lowMark = 64 * 1024

  init(worker: Worker, address: String) {
    self.worker = worker
    self.address = address
    super.init(reactor: worker.reactor, records: worker.records)
  }

  // MARK: For subclasses

  /// Bytes before the login.
  func openingReceived(_ bytes: UnsafeRawBufferPointer) {}
  /// The end of the stream before the login.
  func openingEnded() { close() }
  /// The database let the session in; by default the client is told as PostgreSQL would, with a cancel key of ours.
  func announceReady(_ greeting: ServerGreeting) {
    let key = worker.cancelKeys.issue(for: handle)
    cancelKey = key
    var answer = Encode.authenticationOk()
    answer += greeting.parameterStatus
    answer += Encode.backendKeyData(processID: key.processID, secret: key.secret)
    answer += Encode.readyForQuery(status: greeting.transactionStatus)
    write(answer)
  }
  /// Tells the client why the session does not start or goes on; called at message boundaries only.
  func announceEnd(_ error: WireError) { write(Encode.errorResponse(error)) }
  /// The login is over, one way or the other. Called once or more.
  func loginOver() {}

  // MARK: Incoming

  override final func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    switch phase {
    case .relay: relay(bytes)
    case .opening: openingReceived(bytes)
    // Until ReadyForQuery the protocol gives the client nothing to say.
    case .login: refuse(WireError(.protocolViolation, "message received before the login was complete"))
    case .over: break
    }
  }

  // MARK: Login

  /// Begins the login of whoever `certificate` (verified, DER) speaks for.
  func login(_ parameters: StartupParameters, certificate: [UInt8]) {
    startup = parameters
    phase = .login
    loginDeadline = reactor.startTimer(for: self, tag: Tag.login.rawValue, after: worker.settings.loginDeadline)
    authorize(
      SessionRequest(
        certificate: certificate, user: parameters.user, database: parameters.database,
        wantsReplication: parameters.wantsReplication, applicationName: parameters.applicationName,
        clientAddress: address, control: SessionControl(session: handle, mailbox: reactor.mailbox)))
  }

  private func authorize(_ request: SessionRequest) {
    self.request = request
    let (handle, mailbox, gateway) = (handle, reactor.mailbox, worker.gateway)
    gateway.pool.run {
      let decision = await gateway.authorizer.authorize(request)
      let isPosted = mailbox.post { reactor in
        guard let client = reactor.channel(handle) as? ClientLeg else { return gateway.abandon(decision) }
        client.decided(decision)
      }
      // With a full mailbox the client is left to its deadline.
      if !isPosted { gateway.abandon(decision) }
    }
  }

  private func decided(_ decision: Result<SessionRoute, WireError>) {
    guard phase == .login else { return worker.gateway.abandon(decision) }
    switch decision {
    case .failure(let error): refuse(error)
    case .success(let route):
      do {
        try begin(route)
      } catch {
        refuse(error)
      }
    }
  }

  private func begin(_ route: SessionRoute) throws(WireError) {
    guard let startup, let request else { return }
    switch route {
    case .database(let grant):
      self.grant = grant
      grantedAt = reactor.now
      let packet = try startup.relayed(
        user: grant.login.user, database: grant.database, replication: startup.wantsReplication)
      guard let plan = grant.pool, !startup.wantsReplication else {
        return ServerChannel.dial(grant.login, startup: packet, owner: self, worker: worker)
      }
      join(plan, startup: packet, grant.login)
    case .agents(let database):
      let packet = try startup.relayed(
        user: startup.user, database: startup.database, replication: startup.wantsReplication)
      worker.tunnels.open(
        database, for: self,
        OpenRequest(
          session: .random(), certificate: request.certificate, clientAddress: address, startup: packet))
    }
  }

  private func join(_ plan: PoolPlan, startup: [UInt8], _ login: ServerLogin) {
    switch plan.settings.mode {
    case .session:
      PoolAttempt(
        membership: PoolMembership(key: PoolKey(plan, startup: startup), plan: plan), login: login, owner: self,
        worker: worker
      ).run()
    case .transaction:
      let pool = worker.pools.sharedPool(plan, startup: startup, worker)
      let session = TransactionSession(self, pool)
      transactions = session
      pool.admit(session, plan)
    }
  }

  /// The server leg was opened (again, when an earlier address did not answer).
  func attach(_ server: ServerLeg) { self.server = server }

  /// There is none, until the next transaction.
  func detach() { server = nil }

  /// The database refused or could not be reached.
  func serverFailed(_ error: WireError, rejectedPassword: Bool) {
    guard phase == .login else { return }
    server = nil
    if let grant {
      worker.gateway.report { $0.sessionStarted(grant.sessionID, failure: error) }
      self.grant = nil
      if rejectedPassword, grant.login.isPasswordCached, var request, request.rejectedPassword == nil {
        request.rejectedPassword = grant.login.password
        return authorize(request)
      }
    }
    refuse(error)
  }

  /// The database let us in, now or for an earlier client. The session begins once that is on record.
  func serverLoggedIn(_ server: ServerChannel) {
    if phase == .login { recordStart() } else { server.close() }
  }

  /// The pool has connections for the session, and its database says that of itself.
  func poolReady(_ greeting: ServerGreeting) {
    guard phase == .login else { return }
    poolGreeting = greeting
    recordStart()
  }

  /// The pool has none.
  func poolFailed(_ error: WireError) {
    if phase == .login {
      serverFailed(error, rejectedPassword: false)
    } else {
      endSession("no connection to the database", telling: error)
    }
  }

  private func recordStart() {
    guard let grant else { return }
    let (handle, mailbox, gateway, sessionID) = (handle, reactor.mailbox, worker.gateway, grant.sessionID)
    gateway.pool.run {
      let refusal = await gateway.authorizer.sessionStarting(sessionID)
      // A full mailbox leaves the login to its deadline.
      mailbox.post { reactor in (reactor.channel(handle) as? ClientLeg)?.recorded(refusal, of: sessionID) }
    }
  }

  private func recorded(_ refusal: WireError?, of sessionID: String) {
    guard phase == .login, grant?.sessionID == sessionID else { return }
    if let refusal {
      server?.clientEnded()
      serverFailed(refusal, rejectedPassword: false)
    } else if let poolGreeting {
      self.poolGreeting = nil
      begin(poolGreeting)
    } else {
      (server as? ServerChannel)?.begin(for: self)
    }
  }

  /// The session begins.
  func serverReady(_ greeting: ServerGreeting, from server: ServerLeg) {
    if phase == .login { begin(greeting) } else { server.close() }
  }

  private func begin(_ greeting: ServerGreeting) {
    announceReady(greeting)
    phase = .relay
    worker.counters.sessionsStarted &+= 1
    endLogin()
    startup = nil
    request = nil
    lastHeard = reactor.now
    // Behind a tunnel, the agent sees to the limits of the session and to its records.
    guard let grant else { return }
    recorder = worker.recorder(for: grant)
    if let idle = grant.idleTimeout { _ = reactor.startTimer(for: self, tag: Tag.idle.rawValue, after: idle) }
    if let lifetime = grant.lifetime {
      let used = min(lifetime, reactor.now - grantedAt)
      _ = reactor.startTimer(for: self, tag: Tag.lifetime.rawValue, after: lifetime - used)
    }
    worker.gateway.report { $0.sessionStarted(grant.sessionID, failure: nil) }
  }

  // MARK: Relay

  private func relay(_ bytes: UnsafeRawBufferPointer) {
    guard server != nil || transactions != nil, !hasTerminated else { return }
    lastHeard = reactor.now
    clientSpokeLast = true
    bytesReceived &+= UInt64(bytes.count)
    worker.counters.bytesFromClients &+= UInt64(bytes.count)
    let lastType = scanner.lastType
    do {
      let scan = try scanner.scan(bytes)
      let passed = UnsafeRawBufferPointer(rebasing: bytes[..<(scan.terminateEnd ?? bytes.count)])
      switch recorder?.noteRequests(passed, now: reactor.now) {
      case .noted, nil: break
      case .overflow: return endSession("audit log overloaded", telling: QueryRecorder.overflow)
      case .nameTooLong: return endSession("name too long to be recorded", telling: QueryRecorder.nameTooLong)
      }
      if let end = scan.terminateEnd {
        hasTerminated = true
        let before = max(0, end - MessageScanner.terminateLength)
        if let transactions { return transactions.terminate(after: UnsafeRawBufferPointer(rebasing: bytes[..<before])) }
        guard let server else { return }
        // What stands before it in these bytes would still have to be answered.
        let isAlone = end == MessageScanner.terminateLength
        if !(isAlone && leave(server, after: lastType)) { server.write(passed) }
        endSession("client terminated")
        return
      }
    } catch {
      return endSession("protocol violation by the client", telling: error)
    }
    if let transactions { return transactions.request(bytes) }
    guard let server else { return }
    server.write(bytes)
    if server.queuedBytes > Self.highMark {
      pauseReceiving()
      server.notifyWhenQueued(atMost: Self.lowMark)
    }
  }

  /// Leaves a server connection that is at rest to its pool, if it has one; `lastType` is of the client's last message to it.
  private func leave(_ server: ServerLeg, after lastType: UInt8) -> Bool {
    guard transactions == nil, !FrontendMessage.isAnsweredLater(lastType), server.release(afterRequests: scanner.cycles) else { return false }
    self.server = nil
    return true
  }

  /// Bytes of the database, unchanged. Returns whether the client keeps up.
  func deliver(_ bytes: UnsafeRawBufferPointer) -> Bool {
    lastHeard = reactor.now
    clientSpokeLast = false
    bytesSent &+= UInt64(bytes.count)
    worker.counters.bytesToClients &+= UInt64(bytes.count)
    recorder?.noteResponses(bytes, now: reactor.now)
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
    if let server { server.resumeReceiving() } else { transactions?.letOn() }
  }

  /// The database closed its end. At a message boundary the client can be told why; within one it can only be cut.
  func serverEnded(saying error: WireError?) {
    endSession("database closed the connection", telling: hasTerminated ? nil : error)
  }

  /// Passes a cancel on to the database, if the session runs.
  ///
  /// - Parameter certificate: who asks, where that is known: must be the session's own user.
  func cancelQuery(askedWith certificate: [UInt8]?, from source: String) {
    guard phase == .relay else { return }
    guard let certificate, let own = sessionCertificate, certificate != own else { return cancelQuery() }
    let (handle, mailbox, gateway, sessionID) = (handle, reactor.mailbox, worker.gateway, grant?.sessionID)
    gateway.pool.run {
      let authorizer = gateway.authorizer
      guard let user = authorizer.userName(certificate: own), user == authorizer.userName(certificate: certificate)
      else {
        return gateway.report { $0.cancelRefused(sessionID, certificate: certificate, clientAddress: source) }
      }
      // A cancel that cannot be delivered is lost, as libpq's is: the protocol has no answer for it.
      mailbox.post { reactor in (reactor.channel(handle) as? ClientLeg)?.cancelQuery() }
    }
  }

  /// Whatever is under way now, wherever that is.
  private func cancelQuery() {
    guard phase == .relay else { return }
    if let server { server.cancelQuery() } else { transactions?.cancelWait() }
  }

  /// The certificate the session was opened with.
  var sessionCertificate: [UInt8]? { tls?.peerCertificateDER }

  // MARK: Ends

  override func plaintextEnded() {
    switch phase {
    case .relay:
      if let server, !(scanner.isAtMessageBoundary && leave(server, after: scanner.lastType)) {
        // Nobody will read the answer: a running query is cancelled rather than left to burn.
        if transactions != nil || !server.isIdle(afterRequests: scanner.cycles) { server.cancelQuery() }
        server.write(Encode.terminate())
      }
      endSession("client closed the connection")
    case .opening: openingEnded()
    case .login, .over: close()
    }
  }

  override func failed(errno: Int32) {
    endSession("client connection lost: \(SystemError.text(errno))")
    // Nothing can be sent any more: no lingering.
    close()
  }

  override func tlsFailed(_ failure: TLSFailure) {
    if phase == .relay { endSession("TLS with the client failed: \(failure.message)") } else { closeAfterSending() }
  }

  override func timerFired(tag: UInt8) {
    switch Tag(rawValue: tag) {
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
    case .wait: transactions?.waitExpired()
    case nil: break
    }
  }

  /// A client that waits for the database is not idle, however long its query takes.
  private func checkIdle() {
    let limit = grant?.idleTimeout ?? .max
    let isWaiting =
      switch server?.backendState {
      case .answering: true
      case .readyForQuery: clientSpokeLast
      case .copyingIn: false
      case nil: transactions?.isWaiting ?? false
      }
    let silent = isWaiting ? 0 : reactor.now - lastHeard
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

  override func reactorStopping() { endSession("shutdown", telling: Worker.shutdown) }

  /// Called now and then while the server drains: ends the session if nothing is under way in it.
  func drain(silentFor silence: UInt64) {
    guard phase == .relay, reactor.now - lastHeard >= silence,
      transactions?.isAtRest ?? server?.isIdle(afterRequests: scanner.cycles) ?? false
    else { return }
    endSession("shutdown", telling: Worker.shutdown)
  }

  /// Ends before the relay with an error.
  func refuse(_ error: WireError) { endSession("refused", telling: error) }

  /// Ends the session in whatever phase it is; the client hears `error` where the protocol has room for it.
  func endSession(_ reason: String, telling error: WireError? = nil) {
    guard phase != .over else { return }
    // An error can be put between messages only; the scanner of the other direction knows where it stands.
    let canTell = phase == .relay ? server?.isAtMessageBoundary ?? true : true
    if let error, canTell { announceEnd(error) }
    if phase == .relay { worker.counters.sessionsEnded &+= 1 } else if let error { worker.counters.refuse(error) }
    if phase == .relay, let grant {
      let summary = SessionSummary(
        sessionID: grant.sessionID, reason: reason, bytesFromClient: bytesReceived, bytesFromServer: bytesSent)
      worker.gateway.report { $0.sessionEnded(summary) }
    } else if phase == .login, let grant {
      let failure = error ?? WireError(.connectionFailure, reason)
      worker.gateway.report { $0.sessionStarted(grant.sessionID, failure: failure) }
    }
    phase = .over
    transactions?.end()
    server?.clientEnded()
    finish()
  }

  func startWaitTimer(after milliseconds: UInt64) -> Reactor.Timer {
    reactor.startTimer(for: self, tag: Tag.wait.rawValue, after: milliseconds)
  }

  override func willClose() {
    if phase != .over { endSession("client connection closed") }
    if let cancelKey { worker.cancelKeys.revoke(cancelKey) }
    server = nil
    endLogin()
  }

  private func endLogin() {
    if let loginDeadline { reactor.cancel(loginDeadline) }
    loginDeadline = nil
    loginOver()
  }
}
