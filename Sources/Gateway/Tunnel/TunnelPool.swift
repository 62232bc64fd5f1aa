import PostgresWire
import Reactor
import TunnelWire

/// One reactor's session connections that wait for a client, and its clients that wait for one.
///
/// A session stays on the reactor its client came to, so each reactor has a pool of its own; agents see to it that none
/// runs dry. Bound to the reactor's thread.
final class TunnelPool {
  private struct Waiting {
    let database: String
    let client: Handle
    let request: OpenRequest
    /// Agents that were tried in vain, each as often as it was.
    var tried: [String] = []
  }

  /// Clients that may wait here; each is bounded by its login deadline too.
  private static let maximumWaiting = 4096
  /// Idle connections kept for one agent; more are closed as they come.
  private static let maximumIdle = 256
  private static let attempts = 4

  private var idle: [String: [Handle]] = [:]
  private var waiting: [Waiting] = []
  /// Connections whose agent has not answered yet.
  private var opening: [String: Set<Handle>] = [:]
  private let reactor: Reactor
  private let registry: TunnelRegistry?

  init(reactor: Reactor, registry: TunnelRegistry?) {
    self.reactor = reactor
    self.registry = registry
  }

  // MARK: Clients

  /// Opens a session of `client` at an agent that serves `database`.
  func open(_ database: String, for client: ClientLeg, _ request: OpenRequest) {
    place(Waiting(database: database, client: client.handle, request: request), client)
  }

  /// The connection broke before the agent answered. Another agent may do better, and so may another connection of the
  /// same one: it closes those that it has too many of, and may have closed this one as it was given out.
  func retry(_ database: String, for client: ClientLeg, _ request: OpenRequest, after tried: [String]) {
    guard tried.count < Self.attempts else { return refuse(client, database) }
    place(Waiting(database: database, client: client.handle, request: request, tried: tried), client)
  }

  private func place(_ entry: Waiting, _ client: ClientLeg) {
    guard let registry else { return refuse(client, entry.database) }
    let ranked = registry.ranked(for: entry.database)
    let agents = ranked.filter { !entry.tried.contains($0) } + ranked.filter(entry.tried.contains)
    guard let best = agents.first else { return refuse(client, entry.database) }
    for agent in agents {
      if let channel = takeIdle(agent) { return channel.begin(entry.database, client, entry.request, entry.tried) }
    }
    // Clients that gave up stay until someone comes by.
    if waiting.count >= Self.maximumWaiting { waiting.removeAll { waitingClient($0) == nil } }
    guard waiting.count < Self.maximumWaiting else {
      return client.serverFailed(
        WireError(
          .tooManyConnections, "too many clients wait for the database service", hint: "Try again in a moment."),
        rejectedPassword: false)
    }
    waiting.append(entry)
    askForMore(best)
  }

  private func askForMore(_ agent: String) {
    let message = TunnelMessage.want(reactor: UInt32(clamping: reactor.index), count: UInt32(clamping: waiting.count))
    TunnelControl.send(message, to: agent, registry)
  }

  private func refuse(_ client: ClientLeg, _ database: String) {
    client.serverFailed(
      WireError(
        .noDatabaseService, "no database service for '\(database)' is connected",
        hint: "Try again in a moment; the administrator sees agents with 'tctl db ls'."), rejectedPassword: false)
  }

  // MARK: Agents

  /// A session connection of `agent` waits: for the first client that wants it, or in the pool.
  ///
  /// - Returns: `false` if there are enough of them already.
  func offer(_ channel: TunnelChannel, of agent: String) -> Bool {
    var position = 0
    while position < waiting.count {
      let entry = waiting[position]
      guard let client = waitingClient(entry) else {
        waiting.remove(at: position)
        continue
      }
      if registry?.serves(agent, entry.database) == true {
        waiting.remove(at: position)
        channel.begin(entry.database, client, entry.request, entry.tried)
        return true
      }
      position += 1
    }
    guard idle[agent, default: []].count < Self.maximumIdle else { return false }
    idle[agent, default: []].append(channel.handle)
    return true
  }

  /// An idle connection has closed.
  func withdraw(_ handle: Handle, of agent: String) {
    idle[agent]?.removeAll { $0 == handle }
    if idle[agent]?.isEmpty == true { idle[agent] = nil }
  }

  /// An agent was asked (`true`), or has answered or left (`false`).
  func note(_ handle: Handle, of agent: String, isOpening: Bool) {
    if isOpening {
      opening[agent, default: []].insert(handle)
    } else {
      opening[agent]?.remove(handle)
      if opening[agent]?.isEmpty == true { opening[agent] = nil }
    }
  }

  /// The agent is gone: its idle connections lead nowhere, and who waited for it has to look elsewhere.
  func forget(_ agent: String) {
    closeIdle(of: agent)
    for handle in (opening.removeValue(forKey: agent) ?? []).sorted() {
      (reactor.channel(handle) as? TunnelChannel)?.lost()
    }
    let stranded = waiting
    waiting = []
    for entry in stranded {
      if let client = waitingClient(entry) { place(entry, client) }
    }
  }

  /// Who waits; `nil` if it has given up.
  private func waitingClient(_ entry: Waiting) -> ClientLeg? {
    guard let client = reactor.channel(entry.client) as? ClientLeg, client.phase == .login else { return nil }
    return client
  }

  /// Closes the agent's connections that wait.
  func closeIdle(of agent: String) {
    for handle in idle.removeValue(forKey: agent) ?? [] { reactor.channel(handle)?.close() }
  }

  private func takeIdle(_ agent: String) -> TunnelChannel? {
    while let handle = idle[agent]?.popLast() {
      if let channel = reactor.channel(handle) as? TunnelChannel { return channel }
    }
    idle[agent] = nil
    return nil
  }
}
