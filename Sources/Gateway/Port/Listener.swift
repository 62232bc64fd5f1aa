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
    try worker.reactor.add(listener, descriptor: worker.reactor.sockets.listen(on: address))
    worker.reactor.accept(listener)
  }

  override func accepted(descriptor: Int32) {
    guard let address = reactor.sockets.peerAddress(descriptor) else {
      // The peer has gone between the kernel's accept and here.
      reactor.sockets.close(descriptor)
      return
    }
    let ticket: Admission.Ticket
    do throws(Admission.Refusal) {
      ticket = try worker.gateway.admission.admit(address, worker.settings.limits, now: worker.reactor.now)
    } catch {
      reactor.sockets.close(descriptor)
      worker.counters.turnAway(error)
      return complain(
        "connections are turned away, the last one from \(address.host): the limit '\(error.rawValue)' is reached "
          + "(teleport.connection_limits)")
    }
    let client = ClientChannel(worker: worker, address: address.host, ticket: ticket)
    do {
      if address.family != AF_UNIX { try reactor.sockets.tuneForSession(descriptor) }
    } catch {
      // The peer has gone between accept and here.
      reactor.sockets.close(descriptor)
      return worker.gateway.admission.release(ticket)
    }
    // On failure `add` has closed the descriptor.
    guard (try? worker.reactor.add(client, descriptor: descriptor)) != nil else {
      return worker.gateway.admission.release(ticket)
    }
    client.begin()
  }

  override func acceptFailed(errno: Int32) {
    complain("cannot accept connections for now: \(SystemError.text(errno)); raise LimitNOFILE if it goes on")
  }

  /// One line a second at most: whoever floods the port must not flood the log.
  private func complain(_ message: @autoclosure () -> String) {
    guard reactor.now >= nextComplaint else { return }
    nextComplaint = reactor.now + 1000
    worker.gateway.warn(message())
  }
}
