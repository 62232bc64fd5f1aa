import Dispatch
import Logging
import PostgresWire
import Reactor

/// The public port: reactors, their listeners, and the way from them to the Dispatch pool and back.
public final class Gateway: Sendable {
  let settings: GatewaySettings
  let authorizer: any SessionAuthorizer
  let pool = DispatchPool()
  let admission = Admission()
  let agentLoad = AgentLoad()
  private let logger = Logger(label: "gateway")
  /// Serial, so that a session's start is told before its end.
  private let reports = DispatchQueue(label: "sallyport.reports")

  public init(settings: GatewaySettings, authorizer: any SessionAuthorizer) {
    self.settings = settings
    self.authorizer = authorizer
  }

  /// Tells the authorizer something, off the reactor.
  func report(_ event: @escaping @Sendable (any SessionAuthorizer) -> Void) {
    reports.async { [authorizer] in event(authorizer) }
  }

  /// A decision that came too late for its client: a grant has to be accounted for all the same.
  func abandon(_ decision: Result<SessionRoute, WireError>) {
    guard case .success(.database(let grant)) = decision else { return }
    let failure = WireError(.connectionFailure, "the client left before the login was complete")
    report { $0.sessionStarted(grant.sessionID, failure: failure) }
  }

  /// Logs off the reactor, as `warn`.
  func note(_ message: String) {
    reports.async { [logger] in logger.info("\(message)") }
  }

  /// Logs off the reactor.
  func warn(_ message: String) {
    reports.async { [logger] in logger.warning("\(message)") }
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
          let worker = Worker(reactor: reactor, gateway: self, peers: peers, reactorCount: reactorCount)
          reactor.context = worker
          for address in addresses { try Listener.open(address, worker: worker) }
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
}
