import Reactor
import Synchronization

/// The agents that have a control connection to this proxy, and how busy each is. Shared by all reactors.
///
/// Asked when a session opens or ends, never for a message; each critical section is a few dictionary look-ups.
public final class TunnelRegistry: Sendable {
  private struct Agent {
    var databases: Set<String> = []
    var control: Address
    /// Sessions of all its proxies, as its last heartbeat said.
    var reported = 0
    /// Sessions through this proxy.
    var open = 0
    var isDraining = false

    var load: Int { max(reported, open) }
  }

  /// Names a channel across reactors.
  struct Address: Sendable, Equatable {
    let handle: Handle
    let mailbox: Mailbox

    static func == (a: Address, b: Address) -> Bool { a.handle == b.handle && a.mailbox === b.mailbox }
  }

  private let agents = Mutex<[String: Agent]>([:])

  public init() {}

  /// How many agents are connected.
  public var count: Int { agents.withLock { $0.count } }

  /// Whether an agent serves `database` and takes sessions.
  public func isServed(_ database: String) -> Bool { !ranked(for: database).isEmpty }

  /// Enters an agent. Of two control connections of one agent the newest counts; until it says what it serves, that is
  /// what it served before, or logins of that moment would be refused.
  ///
  /// - Returns: the one before, which is to be closed: it may be half open, and so may be what came with it.
  func enter(_ agent: String, control: Address) -> Address? {
    agents.withLock { agents in
      let before = agents[agent]
      // Sessions that run are counted down when they end, whichever connection they came with.
      agents[agent] = Agent(databases: before?.databases ?? [], control: control, open: before?.open ?? 0)
      return before?.control
    }
  }

  /// What the agent says on `control`; of no effect if a newer connection has taken its place.
  func set(_ agent: String, databases: [String], control: Address) {
    change(agent, control) { $0.databases = Set(databases) }
  }

  func heartbeat(_ agent: String, sessions: Int, isDraining: Bool, control: Address) {
    change(agent, control) { entry in
      entry.reported = sessions
      entry.isDraining = isDraining
    }
  }

  private func change(_ agent: String, _ control: Address, _ change: (inout Agent) -> Void) {
    agents.withLock { agents in
      guard var entry = agents[agent], entry.control == control else { return }
      change(&entry)
      agents[agent] = entry
    }
  }

  /// Strikes the agent out, unless a newer connection has taken the place of `control`.
  ///
  /// - Returns: whether it is gone.
  func remove(_ agent: String, control: Address) -> Bool {
    agents.withLock { agents in
      guard agents[agent]?.control == control else { return false }
      agents[agent] = nil
      return true
    }
  }

  /// Agents that serve `database` and take sessions, least loaded first.
  func ranked(for database: String) -> [String] {
    agents.withLock { agents in
      agents.filter { $0.value.databases.contains(database) && !$0.value.isDraining }
        .sorted { ($0.value.load, $0.key) < ($1.value.load, $1.key) }.map(\.key)
    }
  }

  func serves(_ agent: String, _ database: String) -> Bool {
    agents.withLock { $0[agent].map { $0.databases.contains(database) && !$0.isDraining } ?? false }
  }

  func control(of agent: String) -> Address? { agents.withLock { $0[agent]?.control } }

  /// Counts a session that opened (+1) or ended (-1) here.
  func count(_ change: Int, of agent: String) {
    agents.withLock { agents in
      guard let entry = agents[agent] else { return }
      agents[agent]?.open = max(0, entry.open + change)
    }
  }
}

/// What the port needs to know to take tunnels.
public struct TunnelEntrance: Sendable {
  let registry: TunnelRegistry
  /// The ID of the agent that a host certificate (DER, verified by TLS) speaks for; `nil` if it may not dig tunnels.
  /// Called on the Dispatch pool.
  let identify: @Sendable ([UInt8]) -> String?

  public init(registry: TunnelRegistry, identify: @escaping @Sendable ([UInt8]) -> String?) {
    self.registry = registry
    self.identify = identify
  }
}
