import PostgresWire
import Reactor
import TLS
import TLSTransport
import TunnelWire

/// The agent's control connection to one proxy: says what it serves and how busy it is, takes orders. Dialled again
/// with back-off and jitter, for ever, when it breaks. Lives on the agent's first reactor.
final class AgentControl: TLSChannel {
  private enum Tag: UInt8 { case heartbeat = 1 }

  private static let heartbeat: UInt64 = 5_000
  private static let silenceLimit: UInt64 = 15_000

  private let link: AgentLink
  private let worker: Worker
  private let addresses: [SocketAddress]
  private var reader = TunnelReader()
  private var isWelcome = false
  private var served: [String] = []
  private var lastHeard: UInt64
  private var failure = "the proxy closed the connection"

  /// - Returns: the connection to come; `nil` if there is none, which the link has been told.
  static func dial(_ addresses: [SocketAddress], _ link: AgentLink, worker: Worker) -> AgentControl? {
    let channel = AgentControl(link: link, worker: worker, addresses: addresses)
    // The first address that resolves is the one to try; the next attempt begins with the next one.
    let address = addresses[link.attempts % addresses.count]
    guard let descriptor = try? worker.reactor.sockets.open(address.family),
      (try? worker.reactor.add(channel, descriptor: descriptor)) != nil
    else {
      link.lost("no socket")
      return nil
    }
    guard (try? worker.reactor.sockets.tuneForSession(descriptor)) != nil else {
      channel.close()
      return nil
    }
    channel.startHeartbeat()
    worker.reactor.connect(channel, to: address)
    return channel
  }

  private init(link: AgentLink, worker: Worker, addresses: [SocketAddress]) {
    self.link = link
    self.worker = worker
    self.addresses = addresses
    lastHeard = worker.reactor.now
    super.init(reactor: worker.reactor, records: worker.records)
  }

  override func connected(errno: Int32) {
    guard errno == 0 else { return give(up: SystemError.text(errno)) }
    resumeReceiving()
    secureAsClient(link.settings.contexts().control, serverName: link.settings.serverName)
  }

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    lastHeard = reactor.now
    reader.append(bytes)
    do {
      while let message = try reader.next() { try handle(message) }
    } catch {
      give(up: error.message)
    }
  }

  private func handle(_ message: TunnelMessage) throws(WireError) {
    switch message {
    case .welcome(_, let reactorCount):
      guard !isWelcome else { throw WireError(.protocolViolation, "welcomed twice") }
      isWelcome = true
      announce()
      link.connected(addresses, proxyReactors: Int(reactorCount))
    case .alive: break
    case .want(let reactor, let count): link.want(Int(count), at: Int(reactor))
    case .cancel(let session): link.cancel(session)
    default: throw WireError(.protocolViolation, "an unexpected message of the proxy")
    }
  }

  /// Says what is served, if that has changed, and how busy this agent is.
  func announce() {
    guard isWelcome else { return }
    let databases = link.settings.databases()
    if databases != served || databases.isEmpty { write(TunnelMessage.serves(databases: databases).encoded()) }
    served = databases
    let load = worker.gateway.agentLoad
    write(
      TunnelMessage.heartbeat(sessions: UInt32(clamping: load.count), isDraining: load.isDraining).encoded())
  }

  private func startHeartbeat() {
    _ = reactor.startTimer(for: self, tag: Tag.heartbeat.rawValue, after: Self.heartbeat)
  }

  override func timerFired(tag: UInt8) {
    guard reactor.now - lastHeard < Self.silenceLimit else { return give(up: "the proxy does not answer") }
    announce()
    if isWelcome { link.refill() }
    startHeartbeat()
  }

  // MARK: Ends

  private func give(up reason: String) {
    failure = reason
    close()
  }

  override func plaintextEnded() { close() }
  override func failed(errno: Int32) { give(up: SystemError.text(errno)) }
  override func tlsFailed(_ failure: TLSFailure) { give(up: failure.message) }

  override func willClose() { link.lost(failure) }
}
