import Reactor
import TLSTransport
import TunnelWire

/// What all channels of one reactor share. Bound to the reactor's thread.
final class Worker {
  let reactor: Reactor
  let gateway: Gateway
  let peers: Peers
  /// For connections accepted from now on; a reload replaces it.
  var settings: GatewaySettings

  let reactorCount: Int
  let records = TLSWorkspace()

  /// A proxy's clients and session connections that wait for each other.
  let tunnels: TunnelPool
  /// An agent's sessions, by the name the proxy gave them.
  var tunnelled: [SessionToken: Handle] = [:]
  /// An agent's session connections, by proxy.
  var agentPools: [String: AgentPool] = [:]
  /// On an agent's first reactor: its proxies.
  var agentLinks: [String: AgentLink] = [:]
  /// Server connections that wait for their next client.
  let pools = ServerPools()
  var cancelKeys: CancelKeys
  /// Clients, and those of them whose login is not over.
  var clientCount = 0
  var loginCount = 0
  var counters = WorkerCounters()
  /// The server is about to end: nobody logs in any more.
  var isDraining = false
  /// And very soon: sessions end with what is under way in them.
  var endsSessionsWhenIdle = false

  init(reactor: Reactor, gateway: Gateway, peers: Peers, reactorCount: Int) {
    self.reactor = reactor
    self.peers = peers
    self.gateway = gateway
    self.reactorCount = reactorCount
    tunnels = TunnelPool(reactor: reactor, registry: gateway.settings.tunnel?.registry)
    settings = gateway.settings
    cancelKeys = CancelKeys(reactorIndex: reactor.index, reactorCount: reactorCount)
  }

  /// What keeps account of a session's statements, if they are recorded.
  func recorder(for grant: SessionGrant) -> QueryRecorder? {
    guard let session = grant.recording, let recording = settings.recording else { return nil }
    return QueryRecorder(recording, reactor: reactor.index, session: session)
  }

  /// The worker of the reactor on whose thread this runs.
  static func of(_ reactor: Reactor) -> Worker? { reactor.context as? Worker }
}
