import Logging
import PostgresWire
import Reactor

/// The public port: reactors, their listeners, and the way from them to the Dispatch pool and back.
public final class Gateway: Sendable {
  let settings: GatewaySettings
  let authorizer: any SessionAuthorizer
  let pool: any BackgroundWork
  let admission = Admission()
  let agentLoad = AgentLoad()
  private let logger: Logger

  public init(
    settings: GatewaySettings, authorizer: any SessionAuthorizer, pool: any BackgroundWork = DispatchPool(),
    logger: Logger = Logger(label: "gateway")
  ) {
    self.settings = settings
    self.authorizer = authorizer
    self.pool = pool
    self.logger = logger
  }

  /// Tells the authorizer something, off the reactor; a session's start before its end.
  func report(_ event: @escaping @Sendable (any SessionAuthorizer) -> Void) {
    pool.report { [authorizer] in event(authorizer) }
  }

  /// A decision that came too late for its client: a grant has to be accounted for all the same.
  func abandon(_ decision: Result<SessionRoute, WireError>) {
    guard case .success(.database(let grant)) = decision else { return }
    let failure = WireError(.connectionFailure, "the client left before the login was complete")
    report { $0.sessionStarted(grant.sessionID, failure: failure) }
  }

  /// Logs off the reactor, as `warn`.
  func note(_ message: String) {
    pool.report { [logger] in logger.info("\(message)") }
  }

  /// Logs off the reactor.
  func warn(_ message: String) {
    pool.report { [logger] in logger.warning("\(message)") }
  }

  /// Opens `addresses` on each of `reactorCount` reactors and starts serving.
  ///
  /// - Throws: `SystemError` if a listener cannot be opened or `interface` cannot be used.
  public func start(
    on addresses: [SocketAddress], reactorCount: Int, over interface: KernelInterface = .epoll
  ) throws -> RunningGateway {
    var threads: [ReactorThread] = []
    let peers = Peers()
    do {
      for index in 0..<reactorCount {
        let thread = try ReactorThread.start(index: index, over: interface) { reactor in
          try self.serve(on: addresses, reactor, peers, reactorCount: reactorCount)
        }
        threads.append(thread)
      }
    } catch {
      for thread in threads { thread.stop() }
      throw error
    }
    peers.set(threads.map(\.mailbox))
    return RunningGateway(threads: threads)
  }

  private func serve(
    on addresses: [SocketAddress], _ reactor: Reactor, _ peers: Peers, reactorCount: Int
  ) throws {
    let worker = Worker(reactor: reactor, gateway: self, peers: peers, reactorCount: reactorCount)
    reactor.context = worker
    for address in addresses { try Listener.open(address, worker: worker) }
  }

  /// As `start`, on reactors whose turns are the caller's, all on one thread.
  package func start(on addresses: [SocketAddress], reactors: [Reactor]) throws -> RunningGateway {
    let peers = Peers()
    for reactor in reactors { try serve(on: addresses, reactor, peers, reactorCount: reactors.count) }
    peers.set(reactors.map(\.mailbox))
    return RunningGateway(mailboxes: reactors.map(\.mailbox))
  }
}
