import Reactor
import TLS
import TLSTransport
import TunnelWire

/// What the proxy's ends of both kinds of tunnel connection have in common.
enum TunnelPeer {
  /// Finds out on the Dispatch pool which agent dialled `channel`; closes it if that is none.
  static func identify<Peer: TLSChannel>(
    _ channel: Peer, _ entrance: TunnelEntrance, then: @escaping @Sendable (Peer, String) -> Void
  ) {
    guard let certificate = channel.tls?.peerCertificateDER else { return channel.close() }
    let (handle, mailbox) = (channel.handle, channel.reactor.mailbox)
    guard let worker = Worker.of(channel.reactor) else { return channel.close() }
    worker.gateway.pool.run {
      let agent = entrance.identify(certificate)
      // A full mailbox leaves the connection to its deadline.
      mailbox.post { reactor in
        guard let channel = reactor.channel(handle) as? Peer else { return }
        guard let agent else { return channel.close() }
        then(channel, agent)
      }
    }
  }

  static func welcome(_ worker: Worker) -> TunnelMessage {
    .welcome(reactor: UInt32(clamping: worker.reactor.index), reactorCount: UInt32(clamping: worker.reactorCount))
  }
}
