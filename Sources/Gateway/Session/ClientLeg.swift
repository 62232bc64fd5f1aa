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

  enum Tag: UInt8 {
    case login = 1
    case idle, lifetime, stall, wait
  }
  /// Timer tags from here on belong to subclasses.
  static let firstOwnTag: UInt8 = 16

  let worker: Worker
  /// Numeric address of the client.
  final var address: String
  final var phase = Phase.opening
  final var loginDeadline: Reactor.Timer?
  /// Limits of the session, in hours often: without being cancelled they would outlive it.
  final var idleLimit: Reactor.Timer?
  final var lifetimeLimit: Reactor.Timer?

  // Of the login: see ClientLogin.swift.
  final var startup: StartupParameters?
  final var asked: SessionRequest?
  final var grant: SessionGrant?
  /// When the grant came, by the reactor's clock: its lifetime runs from there.
  final var grantedAt: UInt64 = 0
  /// What the client is told once its start is on record, if no connection of its own says it.
  final var poolGreeting: ServerGreeting?
  private var cancelKey: CancelKeys.Key?
  final var server: ServerLeg?
  /// Has server connections for the time of a transaction only.
  final var transactions: TransactionSession?

  private var scanner = MessageScanner(side: .frontend)
  final var recorder: QueryRecorder?
  /// When either side was last heard, by the reactor's clock, and which one it was.
  final var lastHeard: UInt64 = 0
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

  /// Whether the database has answered all that the client has sent it, of which a message of `lastType` was the last.
  private func isAtRest(_ server: ServerLeg, after lastType: UInt8) -> Bool {
    // Behind any other, a Sync may be missing.
    (lastType == 0 || MessageScanner.beginsCycle(lastType)) && server.isIdle(afterRequests: scanner.cycles)
  }

  /// Leaves a server connection that is at rest to its pool, if it has one.
  private func leave(_ server: ServerLeg, after lastType: UInt8) -> Bool {
    guard transactions == nil, isAtRest(server, after: lastType), server.release() else { return false }
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
    if worker.endsSessionsWhenIdle, transactions == nil { drain(silentFor: 0) }
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

  /// The server has taken in most of what waited for it.
  func serverDrained() { if let transactions { transactions.letOn() } else { resumeReceiving() } }

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
      // Within a message it would become a part of that: the database must not get what the client has not sent.
      if let server, scanner.isAtMessageBoundary, !leave(server, after: scanner.lastType) {
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
      idleLimit = reactor.startTimer(for: self, tag: Tag.idle.rawValue, after: limit - silent)
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
    if phase == .relay, !hasTerminated, let server, transactions != nil || !isAtRest(server, after: scanner.lastType) {
      // Nobody will read the answer: a running query is cancelled rather than left to burn, and to change things on behalf
      // of somebody who has just been locked. A database does not look at its connection while it works.
      server.cancelQuery()
    }
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
    if let idleLimit { reactor.cancel(idleLimit) }
    if let lifetimeLimit { reactor.cancel(lifetimeLimit) }
  }
}
