import Reactor

/// What all channels of one reactor share. Bound to the reactor's thread.
final class Worker {
  let reactor: Reactor
  let gateway: Gateway
  let peers: Peers
  var settings: GatewaySettings { gateway.settings }

  /// Decrypted bytes on their way from one leg to the other, used within one callback only.
  let plaintext: UnsafeMutableRawBufferPointer
  /// The most plaintext one TLS record carries (RFC 8446 section 5.1).
  static let largestRecord = 16 * 1024

  var cancelKeys: CancelKeys
  /// Clients, and those of them whose login is not over.
  var clientCount = 0
  var loginCount = 0

  init(reactor: Reactor, gateway: Gateway, peers: Peers, reactorCount: Int) {
    self.reactor = reactor
    self.peers = peers
    self.gateway = gateway
    plaintext = .allocate(byteCount: 5 * Self.largestRecord, alignment: 64)
    cancelKeys = CancelKeys(reactorIndex: reactor.index, reactorCount: reactorCount)
  }

  deinit { plaintext.deallocate() }

  /// The worker of the reactor on whose thread this runs.
  static func of(_ reactor: Reactor) -> Worker? { reactor.context as? Worker }
}
