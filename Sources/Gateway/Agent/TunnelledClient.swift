import PostgresWire
import Reactor
import TLS
import TLSTransport
import TunnelWire

/// The agent's end of a session connection: dialled to the proxy, it waits there until a client comes through it.
final class TunnelledClient: ClientLeg {
  private enum Stage { case connecting, handshake, waiting, taken }

  private enum Tag: UInt8 { case dial = 16 }
  /// Milliseconds from connect to the proxy's welcome.
  private static let dialDeadline: UInt64 = 10_000

  private let settings: AgentSettings
  private let pool: AgentPool
  private var stage = Stage.connecting
  private var proxyReactor = 0
  private var reader = TunnelReader()
  private var request: OpenRequest?

  override var sessionCertificate: [UInt8]? { request?.certificate }

  /// Starts dialling; `false` if the socket cannot be made.
  static func dial(_ address: SocketAddress, _ settings: AgentSettings, pool: AgentPool, worker: Worker) -> Bool {
    let channel = TunnelledClient(settings: settings, pool: pool, worker: worker)
    guard let descriptor = try? worker.reactor.sockets.open(address.family),
      (try? worker.reactor.add(channel, descriptor: descriptor)) != nil,
      (try? worker.reactor.sockets.tuneForSession(descriptor)) != nil
    else {
      channel.stage = .taken
      channel.close()
      return false
    }
    _ = channel.reactor.startTimer(for: channel, tag: Tag.dial.rawValue, after: dialDeadline)
    channel.reactor.connect(channel, to: address)
    return true
  }

  private init(settings: AgentSettings, pool: AgentPool, worker: Worker) {
    self.settings = settings
    self.pool = pool
    super.init(worker: worker, address: "")
  }

  override func connected(errno: Int32) {
    guard errno == 0 else { return close() }
    stage = .handshake
    resumeReceiving()
    secureAsClient(settings.contexts().session, serverName: settings.serverName)
  }

  // MARK: Opening

  override func openingReceived(_ bytes: UnsafeRawBufferPointer) {
    reader.append(bytes)
    do throws(WireError) {
      while phase == .opening, let message = try reader.next() {
        switch (stage, message) {
        case (.handshake, .welcome(let reactor, _)):
          stage = .waiting
          proxyReactor = Int(reactor)
          if !pool.landed(at: proxyReactor) {
            stage = .taken
            return finish()
          }
        case (.waiting, .open(let request)): try open(request)
        default: throw WireError(.protocolViolation, "an unexpected message of the proxy")
        }
      }
    } catch {
      refuse(error)
    }
  }

  private func open(_ request: OpenRequest) throws(WireError) {
    stage = .taken
    write(TunnelMessage.taken.encoded())
    pool.left(proxyReactor, isTaken: true)
    worker.gateway.agentLoad.add(1)
    self.request = request
    address = request.clientAddress
    worker.tunnelled[request.session] = handle
    guard let (packet, used) = try StartupPacket.parse(request.startup), used == request.startup.count,
      case .startup(let parameters) = packet
    else {
      throw WireError(.protocolViolation, "the proxy sent a malformed startup packet")
    }
    login(parameters, certificate: request.certificate)
  }

  override func announceReady(_ greeting: ServerGreeting) {
    write(
      TunnelMessage.ready(
        parameterStatus: greeting.parameterStatus, transactionStatus: greeting.transactionStatus
      ).encoded())
  }

  override func announceEnd(_ error: WireError) {
    if phase == .relay { super.announceEnd(error) } else { write(TunnelMessage.refused(error).encoded()) }
  }

  // MARK: Ends

  override func timerFired(tag: UInt8) {
    guard tag == Tag.dial.rawValue else { return super.timerFired(tag: tag) }
    if stage == .connecting || stage == .handshake { close() }
  }

  /// While this agent drains, nobody is to come through a connection that still waits; a client that is on its way
  /// through it finds it closed, and the proxy takes another agent.
  override func drain(silentFor silence: UInt64) {
    if stage == .taken { super.drain(silentFor: silence) } else { close() }
  }

  /// A connection that waits has nobody to be told.
  override func reactorStopping() {
    if phase == .opening { close() } else { super.reactorStopping() }
  }

  override func tlsFailed(_ failure: TLSFailure) {
    if stage == .handshake { worker.gateway.warn("cannot reach proxy \(settings.proxy): \(failure.message)") }
    super.tlsFailed(failure)
  }

  override func willClose() {
    super.willClose()
    switch stage {
    case .connecting, .handshake: pool.dialFailed()
    case .waiting: pool.left(proxyReactor, isTaken: false)
    case .taken: break
    }
    guard let request else { return }
    worker.tunnelled[request.session] = nil
    worker.gateway.agentLoad.add(-1)
  }
}
