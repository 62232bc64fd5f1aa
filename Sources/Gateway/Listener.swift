import Glibc
import Reactor

/// One listening socket of one reactor; makes a client channel of every connection it takes.
final class Listener: Channel {
  private let worker: Worker

  private init(worker: Worker) {
    self.worker = worker
    super.init(reactor: worker.reactor)
  }

  static func open(_ address: SocketAddress, worker: Worker) throws {
    let listener = Listener(worker: worker)
    try worker.reactor.add(listener, descriptor: Sockets.listen(on: address))
    worker.reactor.accept(listener)
  }

  override func accepted(descriptor: Int32) {
    // Past the bounds a connection is closed before it costs a handshake; the kernel's backlog is the queue.
    let settings = worker.settings
    guard worker.clientCount < settings.maximumConnections, worker.loginCount < settings.maximumLogins,
      let address = Sockets.peerAddress(descriptor)
    else {
      worker.counters.turnedAway &+= 1
      Glibc.close(descriptor)
      return
    }
    let client = ClientChannel(worker: worker, address: address.host)
    do {
      if address.family != AF_UNIX { try Sockets.tuneForSession(descriptor) }
    } catch {
      // The peer has gone between accept and here.
      Glibc.close(descriptor)
      return
    }
    // On failure `add` has closed the descriptor: nothing is left to do for this peer.
    guard (try? worker.reactor.add(client, descriptor: descriptor)) != nil else { return }
    client.begin()
  }
}
