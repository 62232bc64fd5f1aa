import PostgresWire
import Reactor
import TLS
import TLSTransport
import TunnelWire

/// The proxy's end of an agent's control connection: what it serves, how busy it is, and orders to it.
final class TunnelControl: TLSChannel {
  private enum Tag: UInt8 { case silence = 1 }

  /// Heartbeats come every 5 s: after three missing ones the agent counts as dead.
  private static let silenceLimit: UInt64 = 15_000
  /// An agent that does not read has no business here.
  private static let maximumQueue = 1 << 20

  private let worker: Worker
  private let registry: TunnelRegistry
  private var agent: String?
  private var reader = TunnelReader()
  private var lastHeard: UInt64

  /// Takes over a connection whose handshake ended in the control protocol.
  static func accept(_ connection: ClientChannel, entrance: TunnelEntrance) {
    let channel = TunnelControl(worker: connection.worker, registry: entrance.registry)
    channel.takeOverSecured(connection)
    channel.watchSilence(after: silenceLimit)
    TunnelPeer.identify(channel, entrance) { (channel: TunnelControl, agent) in channel.identified(agent) }
  }

  /// Sends an order to `agent`, from any thread. Lost if the agent has gone: who waits for its effect has a deadline.
  static func send(_ message: TunnelMessage, to agent: String, _ registry: TunnelRegistry?) {
    guard let address = registry?.control(of: agent) else { return }
    address.mailbox.post { reactor in
      guard let channel = reactor.channel(address.handle) as? TunnelControl else { return }
      guard channel.queuedBytes <= maximumQueue else { return channel.close() }
      channel.write(message.encoded())
    }
  }

  private init(worker: Worker, registry: TunnelRegistry) {
    self.worker = worker
    self.registry = registry
    lastHeard = worker.reactor.now
    super.init(reactor: worker.reactor, records: worker.records)
  }

  private func identified(_ agent: String) {
    self.agent = agent
    if let before = registry.enter(agent, control: address) {
      // The agent came back before its old connection was missed. What it dials after the welcome comes later.
      forget(agent)
      before.mailbox.post { $0.channel(before.handle)?.close() }
    }
    write(TunnelPeer.welcome(worker).encoded())
    // What came before the identity was known.
    readMessages()
  }

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    lastHeard = reactor.now
    reader.append(bytes)
    if agent != nil { readMessages() } else if reader.isFull { close() }
  }

  private func readMessages() {
    guard let agent else { return }
    do {
      while let message = try reader.next() {
        switch message {
        case .serves(let databases): registry.set(agent, databases: databases, control: address)
        case .heartbeat(let sessions, let isDraining):
          registry.heartbeat(agent, sessions: Int(sessions), isDraining: isDraining, control: address)
          write(TunnelMessage.alive.encoded())
        default: return close()
        }
      }
    } catch {
      close()
    }
  }

  private var address: TunnelRegistry.Address { .init(handle: handle, mailbox: reactor.mailbox) }

  // MARK: Ends

  /// Closes the connection if it is `agent`'s.
  func shutOut(_ agent: String) {
    if self.agent == agent { close() }
  }

  private func watchSilence(after milliseconds: UInt64) {
    _ = reactor.startTimer(for: self, tag: Tag.silence.rawValue, after: milliseconds)
  }

  override func timerFired(tag: UInt8) {
    let silent = reactor.now - lastHeard
    guard silent < Self.silenceLimit, agent != nil else { return close() }
    watchSilence(after: Self.silenceLimit - silent)
  }

  override func plaintextEnded() { close() }
  override func failed(errno: Int32) { close() }
  override func tlsFailed(_ failure: TLSFailure) { close() }

  override func willClose() {
    guard let agent, registry.remove(agent, control: address) else { return }
    forget(agent)
  }

  private func forget(_ agent: String) {
    for mailbox in worker.peers.all {
      mailbox.post(evenIfFull: true) { reactor in Worker.of(reactor)?.tunnels.forget(agent) }
    }
  }
}
