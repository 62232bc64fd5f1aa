import PostgresWire
import Reactor
import TLS

/// What one reactor has counted since it started.
///
/// Plain integers: only the reactor's own thread touches them, and whoever wants to know asks by a post. So a relayed
/// message pays for one addition, not for an atomic operation or a lock.
public struct WorkerCounters: Sendable {
  /// Sessions the database let in, and those of them that are over.
  public internal(set) var sessionsStarted: UInt64 = 0
  public internal(set) var sessionsEnded: UInt64 = 0
  /// Sessions that were told why they do not start.
  public internal(set) var refusals: [SQLState: UInt64] = [:]
  /// Connections closed at once, by the limit that they met.
  public internal(set) var turnedAway: [String: UInt64] = [:]
  /// Plaintext bytes relayed after the login.
  public internal(set) var bytesFromClients: UInt64 = 0
  public internal(set) var bytesToClients: UInt64 = 0
  public internal(set) var clientHandshakes = Handshakes()
  public internal(set) var databaseHandshakes = Handshakes()

  public internal(set) var pool = PoolCounters()

  /// Outcomes of TLS handshakes on one kind of connection.
  public struct Handshakes: Sendable {
    public internal(set) var completed: UInt64 = 0
    public internal(set) var failed: [TLSFailure.Reason: UInt64] = [:]

    mutating func fail(_ failure: TLSFailure) { failed[failure.reason, default: 0] &+= 1 }
  }

  mutating func turnAway(_ refusal: Admission.Refusal) { turnedAway[refusal.rawValue, default: 0] &+= 1 }

  mutating func refuse(_ error: WireError) { refusals[error.state, default: 0] &+= 1 }
}

/// One reactor at the moment it was asked.
public struct ReactorSample: Sendable {
  public let counters: WorkerCounters
  /// Open sockets: listeners, clients, databases.
  public let channels: Int
  /// Connections to the public port, and those of them whose login is not over.
  public let clients: Int
  public let logins: Int
  /// Server connections that wait for their next client.
  public let keptServers: Int
  /// Server connections of mode transaction, in use or not, and clients that wait for one.
  public let sharedServers: Int
  public let waitingClients: Int

  init(_ worker: Worker) {
    counters = worker.counters
    channels = worker.reactor.channelCount
    clients = worker.clientCount
    logins = worker.loginCount
    keptServers = worker.pools.count
    sharedServers = worker.pools.sharedCount
    waitingClients = worker.pools.waitingCount
  }

  /// Of a gateway's reactor; on its thread.
  package init?(_ reactor: Reactor) {
    guard let worker = Worker.of(reactor) else { return nil }
    self.init(worker)
  }
}
