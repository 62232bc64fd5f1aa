import Reactor

/// What all channels of one reactor share. Bound to the reactor's thread.
final class Worker {
  let reactor: Reactor
  let gateway: Gateway
  let peers: Peers
  var settings: GatewaySettings { gateway.settings }

  let records = RecordBuffer()

  var cancelKeys: CancelKeys
  /// Clients, and those of them whose login is not over.
  var clientCount = 0
  var loginCount = 0

  init(reactor: Reactor, gateway: Gateway, peers: Peers, reactorCount: Int) {
    self.reactor = reactor
    self.peers = peers
    self.gateway = gateway
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
