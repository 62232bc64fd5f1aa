import Glibc
import Reactor

/// One listening socket of one reactor; makes a client channel of every connection it takes.
final class Listener: Channel {
  private let worker: Worker
  private var nextComplaint: UInt64 = 0

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
    let settings = worker.settings
    guard worker.clientCount < settings.maximumConnections, worker.loginCount < settings.maximumLogins else {
      worker.counters.turnedAway &+= 1
      Glibc.close(descriptor)
      return complain(
        "connections refused: the limits of \(settings.maximumConnections) in all and "
          + "\(settings.maximumLogins) logging in are reached")
    }
    guard let address = Sockets.peerAddress(descriptor) else {
      // The peer has gone between the kernel's accept and here.
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

  override func acceptFailed(errno: Int32) {
    complain("cannot accept connections for now: \(SystemError.text(errno)); raise LimitNOFILE if it goes on")
  }

  /// One line a second at most: whoever floods the port must not flood the log.
  private func complain(_ message: String) {
    guard reactor.now >= nextComplaint else { return }
    nextComplaint = reactor.now + 1000
    worker.gateway.warn(message)
  }
}
