import Reactor
import TLSTransport

/// A listener on this machine whose connections lead to the cluster's public port; one reactor serves them all.
public enum LocalProxy {
  /// Opens `address` (port 0: any) and serves until `RunningLocalProxy.stop`.
  ///
  /// - Throws: `SystemError` if the address cannot be opened.
  public static func start(
    on address: SocketAddress, settings: LocalProxySettings, source: any UpstreamSource
  ) throws -> RunningLocalProxy {
    // One process serves the port: a second one that asks for it is to be told.
    let descriptor = try Sockets.listen(on: address, sharesPort: false)
    guard let bound = Sockets.localAddress(descriptor) else { throw SystemError(call: "getsockname", errno: 0) }
    let thread = try ReactorThread.start(index: 0) { reactor in
      let worker = LocalWorker(reactor: reactor, settings: settings, source: source)
      reactor.context = worker
      try LocalListener.open(descriptor, worker: worker)
    }
    return RunningLocalProxy(address: bound, thread: thread)
  }
}

/// A local proxy that serves; letting go of it does not stop it.
public struct RunningLocalProxy: Sendable {
  /// Where it listens.
  public let address: SocketAddress
  private let thread: ReactorThread

  init(address: SocketAddress, thread: ReactorThread) {
    self.address = address
    self.thread = thread
  }

  /// Ends all sessions, with FATAL 57P01 where the protocol has room for it, and waits.
  public func stop() { thread.stop() }
}

/// What all channels of the proxy share. Bound to the reactor's thread.
final class LocalWorker {
  let reactor: Reactor
  let settings: LocalProxySettings
  let source: any UpstreamSource
  let records = TLSWorkspace()
  var clientCount = 0

  init(reactor: Reactor, settings: LocalProxySettings, source: any UpstreamSource) {
    self.reactor = reactor
    self.settings = settings
    self.source = source
  }
}

/// The listening socket; makes a client of every connection it takes.
final class LocalListener: Channel {
  private let worker: LocalWorker

  static func open(_ descriptor: Int32, worker: LocalWorker) throws {
    let listener = LocalListener(worker: worker)
    try worker.reactor.add(listener, descriptor: descriptor)
    worker.reactor.accept(listener)
  }

  private init(worker: LocalWorker) {
    self.worker = worker
    super.init(reactor: worker.reactor)
  }

  override func accepted(descriptor: Int32) {
    let client = LocalClient(worker: worker)
    // On failure `add` has closed the descriptor: nothing is left to do for this peer.
    guard (try? worker.reactor.add(client, descriptor: descriptor)) != nil else { return }
    guard (try? Sockets.tuneForSession(descriptor)) != nil else { return client.close() }
    client.begin()
  }
}
