import Reactor
import TunnelWire

/// One reactor's session connections to one proxy: keeps some waiting at each of the proxy's reactors.
///
/// The kernel decides which reactor of the proxy takes a connection; the proxy says which it was. So connections are
/// dialled until each reactor has its share. Bound to the reactor's thread.
final class AgentPool {
  /// Holds this.
  private unowned let worker: Worker
  private let settings: AgentSettings
  private var addresses: [SocketAddress]
  private var next = 0
  /// Connections that wait for a client, and further ones asked for, by reactor of the proxy.
  private var idle: [Int]
  private var wanted: [Int]
  private var dialing = 0
  private var isActive = true

  /// Handshakes under way at once, so that a burst of clients does not become a flood at the proxy.
  private static let maximumDialing = 32
  /// What a proxy may ask for at once.
  private static let maximumWanted = 1024

  init(worker: Worker, settings: AgentSettings, addresses: [SocketAddress], proxyReactors: Int) {
    self.worker = worker
    self.settings = settings
    self.addresses = addresses
    idle = Array(repeating: 0, count: proxyReactors)
    wanted = Array(repeating: 0, count: proxyReactors)
  }

  /// Makes sure that enough connections wait.
  func fill() {
    guard isActive, !addresses.isEmpty else { return }
    var missing = 0
    // Whoever asks for connections has none waiting: those that seem to are on their way out, or dead.
    for (have, want) in zip(idle, wanted) { missing += want + max(0, AgentSettings.spare - have) }
    while dialing < min(missing, Self.maximumDialing) {
      let address = addresses[next % addresses.count]
      next = (next + 1) % addresses.count
      guard TunnelledClient.dial(address, settings, pool: self, worker: worker) else { return }
      dialing += 1
    }
  }

  /// The control connection is gone, or this agent is about to end: no new session connections.
  func stop() { isActive = false }

  /// That many clients wait at a reactor of the proxy.
  func want(_ count: Int, at reactor: Int) {
    guard wanted.indices.contains(reactor) else { return }
    wanted[reactor] = min(max(wanted[reactor], count), Self.maximumWanted)
    fill()
  }

  // MARK: Connections

  /// A connection has arrived at a reactor of the proxy and waits there.
  ///
  /// - Returns: `false` if it is one too many there: it is closed, for another to land where it is missing.
  func landed(at reactor: Int) -> Bool {
    dialing -= 1
    guard idle.indices.contains(reactor) else { return false }
    let isWanted = wanted[reactor] > 0
    guard isWanted || idle[reactor] < Self.surplus else {
      fill()
      return false
    }
    if isWanted { wanted[reactor] -= 1 }
    idle[reactor] += 1
    fill()
    return true
  }

  /// So many may wait at one reactor while another still lacks some: closing them at once would be a lottery.
  private static let surplus = 4 * AgentSettings.spare

  /// A waiting connection was given to a client, or closed: then the next one waits for the next `fill`, at the latest
  /// with the next heartbeat. A proxy that closes what it has just welcomed is not dialled in a tight loop.
  func left(_ reactor: Int, isTaken: Bool) {
    guard idle.indices.contains(reactor) else { return }
    idle[reactor] = max(0, idle[reactor] - 1)
    if isTaken { fill() }
  }

  /// A connection did not come to be. The next `fill` tries again: at the latest with the next heartbeat.
  func dialFailed() { dialing -= 1 }
}
