import PostgresWire
import Reactor
import TLS
import TLSTransport
import TunnelWire

/// The proxy's end of a session connection: waits for a client, then stands for the database towards it.
final class TunnelChannel: ServerLeg {
  private enum Phase { case identifying, idle, opening, relay, over }

  private enum Tag: UInt8 {
    case identify = 1
    case taken
  }
  private static let identifyDeadline: UInt64 = 10_000
  /// Milliseconds from `open` to `taken`, which an agent sends before it does anything about the login.
  private static let takenDeadline: UInt64 = 5_000

  private var phase = Phase.identifying
  private var agent = ""
  private var database = ""
  private var request: OpenRequest?
  private var token: SessionToken?
  private var tried: [String] = []
  private var client: ClientLeg?
  private var reader = TunnelReader()
  private var scanner = MessageScanner(side: .backend)
  /// Transaction status in which the agent handed the session over.
  private var initialStatus: UInt8 = 0
  private var isTaken = false

  override var isAtMessageBoundary: Bool { scanner.isAtMessageBoundary }
  override var backendState: MessageScanner.BackendState { scanner.backendState }
  override func isIdle(afterRequests requests: UInt64) -> Bool {
    phase == .relay && scanner.cycles == requests && scanner.isAtMessageBoundary
      && (scanner.transactionStatus ?? initialStatus) == UInt8(ascii: "I")
  }

  /// Takes over a connection whose handshake ended in the session protocol.
  static func accept(_ connection: ClientChannel, entrance: TunnelEntrance) {
    let channel = TunnelChannel(worker: connection.worker)
    channel.takeOverSecured(connection)
    channel.identify(entrance)
  }

  private func identify(_ entrance: TunnelEntrance) {
    _ = reactor.startTimer(for: self, tag: Tag.identify.rawValue, after: Self.identifyDeadline)
    TunnelPeer.identify(self, entrance) { (channel: TunnelChannel, agent) in channel.identified(agent) }
  }

  private func identified(_ agent: String) {
    guard phase == .identifying else { return }
    self.agent = agent
    phase = .idle
    write(TunnelPeer.welcome(worker).encoded())
    if !worker.tunnels.offer(self, of: agent) { close() }
  }

  // MARK: Session

  /// Gives the connection to `client`; the agent decides about the login.
  func begin(_ database: String, _ client: ClientLeg, _ request: OpenRequest, _ tried: [String]) {
    phase = .opening
    (self.database, self.client, self.request, self.tried) = (database, client, request, tried)
    token = request.session
    worker.settings.tunnel?.registry.count(1, of: agent)
    worker.tunnels.note(handle, of: agent, isOpening: true)
    client.attach(self)
    write(TunnelMessage.open(request).encoded())
    _ = reactor.startTimer(for: self, tag: Tag.taken.rawValue, after: Self.takenDeadline)
  }

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    switch phase {
    case .relay: relay(bytes)
    case .opening: readAnswer(bytes)
    // An agent has nothing to say before it is asked.
    case .identifying, .idle: close()
    case .over: break
    }
  }

  private func relay(_ bytes: UnsafeRawBufferPointer) {
    guard let client else { return }
    do {
      _ = try scanner.scan(bytes)
    } catch {
      return end(saying: WireError(.connectionFailure, "the database service broke the protocol: \(error.message)"))
    }
    if !client.deliver(bytes) { pauseReceiving() }
  }

  private func readAnswer(_ bytes: UnsafeRawBufferPointer) {
    reader.append(bytes)
    do throws(WireError) {
      if !isTaken {
        guard let first = try reader.next() else { return }
        if case .refused(let error) = first {
          // It has not taken the login: another may.
          worker.gateway.warn("agent \(agent) took no login: \(error.message)")
          return lost()
        }
        guard first == .taken else { throw WireError(.protocolViolation, "an answer to no login") }
        isTaken = true
      }
      switch try reader.next() {
      case nil: break
      case .ready(let parameterStatus, let transactionStatus):
        phase = .relay
        initialStatus = transactionStatus
        request = nil
        worker.tunnels.note(handle, of: agent, isOpening: false)
        let rest = reader.takeRest()
        client?.serverReady(
          ServerGreeting(parameterStatus: parameterStatus, transactionStatus: transactionStatus), from: self)
        if !rest.isEmpty { rest.withUnsafeBytes { relay($0) } }
      case .refused(let error): fail(error)
      default: throw WireError(.protocolViolation, "an unexpected message in place of an answer")
      }
    } catch {
      fail(WireError(.cannotConnect, "the database service broke the protocol: \(error.message)"))
    }
  }

  override func cancelQuery() {
    guard phase == .relay, let token else { return }
    TunnelControl.send(.cancel(session: token), to: agent, worker.settings.tunnel?.registry)
  }

  // MARK: Ends

  /// Closes the connection if it is `agent`'s; a session's client is told why.
  func shutOut(_ agent: String, telling error: WireError) {
    guard self.agent == agent else { return }
    switch phase {
    case .relay: end(saying: error)
    case .opening: fail(error)
    case .identifying, .idle, .over: close()
    }
  }

  private func fail(_ error: WireError) {
    let client = self.client
    self.client = nil
    leave()
    finish()
    client?.serverFailed(error, rejectedPassword: false)
  }

  private func end(saying error: WireError?) {
    let client = self.client
    self.client = nil
    // First: what runs there cannot be asked to stop through it.
    leave()
    client?.serverEnded(saying: error)
    close()
  }

  /// The agent is gone. Before its answer another one can be tried, since nothing has reached a database's session.
  func lost() {
    switch phase {
    case .opening:
      let (client, request, database) = (self.client, self.request, self.database)
      let tried = self.tried + [agent]
      self.client = nil
      leave()
      close()
      if let client, let request { worker.tunnels.retry(database, for: client, request, after: tried) }
    case .relay:
      let saidWhy = scanner.lastType == UInt8(ascii: "E")
      end(saying: saidWhy ? nil : WireError(.connectionFailure, "the connection to the database service was lost"))
    case .identifying, .idle, .over: close()
    }
  }

  /// From here on the connection counts no more.
  private func leave() {
    if phase == .opening { worker.tunnels.note(handle, of: agent, isOpening: false) }
    if phase == .opening || phase == .relay { worker.settings.tunnel?.registry.count(-1, of: agent) }
    phase = .over
  }

  override func plaintextEnded() { lost() }
  override func failed(errno: Int32) { lost() }
  override func tlsFailed(_ failure: TLSFailure) { lost() }
  override func drained() { client?.resumeReceiving() }

  override func timerFired(tag: UInt8) {
    switch Tag(rawValue: tag) {
    case .identify where phase == .identifying: close()
    case .taken where phase == .opening && !isTaken:
      // Those that have waited beside it are no better.
      worker.tunnels.closeIdle(of: agent)
      lost()
    default: break
    }
  }

  /// As with a database: the client's channel says goodbye for both.
  override func reactorStopping() {
    if client == nil, queuedBytes == 0 { close() }
  }

  override func clientEnded() {
    client = nil
    leave()
    finish()
  }

  override func willClose() {
    if phase == .idle { worker.tunnels.withdraw(handle, of: agent) }
    let (client, wasRelaying) = (self.client, phase == .relay)
    self.client = nil
    leave()
    if wasRelaying { client?.serverEnded(saying: nil) }
  }
}
