import Reactor
import Synchronization
import TLS

/// An agent's way to one proxy. Immutable but for the session counter; shared by all reactors.
public final class AgentSettings: Sendable {
  /// HOST:PORT, for logs.
  public let proxy: String
  /// The name the proxy's certificate must carry.
  let serverName: String
  /// Contexts that present the host's certificate, for the control and the session protocol; asked for each connection,
  /// since certificates are renewed.
  let contexts: @Sendable () -> (control: ClientTLSContext, session: ClientTLSContext)
  /// The databases served now.
  let databases: @Sendable () -> [String]
  /// Addresses of the proxy; blocks, called on the Dispatch pool.
  let resolve: @Sendable () throws -> [SocketAddress]

  /// Session connections that wait at each reactor of the proxy, for each reactor of the agent.
  static let spare = 2

  public init(
    proxy: String, serverName: String,
    contexts: @escaping @Sendable () -> (control: ClientTLSContext, session: ClientTLSContext),
    databases: @escaping @Sendable () -> [String], resolve: @escaping @Sendable () throws -> [SocketAddress]
  ) {
    self.proxy = proxy
    self.serverName = serverName
    self.contexts = contexts
    self.databases = databases
    self.resolve = resolve
  }
}

/// What all of an agent's connections, to whichever proxy, count together.
final class AgentLoad: Sendable {
  private let sessions = Atomic(0)
  private let draining = Atomic(false)

  var count: Int { sessions.load(ordering: .relaxed) }
  var isDraining: Bool { draining.load(ordering: .relaxed) }

  func add(_ change: Int) { sessions.add(change, ordering: .relaxed) }
  func drain() { draining.store(true, ordering: .relaxed) }
}
