import PostgresWire
import Reactor

/// Somebody's wish for a connection: one that is kept, or else a new one.
struct PoolAttempt {
  let membership: PoolMembership
  let login: ServerLogin
  let owner: any ServerOwner
  let worker: Worker

  func run() {
    if let kept = worker.pools.take(membership.key, for: login) { return kept.lend(self) }
    ServerChannel.dial(login, startup: membership.key.startup, owner: owner, worker: worker, pool: membership)
  }
}

/// The server connections of one reactor that wait for their next client.
final class ServerPools {
  /// By what their users have in common; of each, the one that has waited longest first.
  private var kept: [PoolKey: [PooledServer]] = [:]
  private var countOfDatabase: [String: Int] = [:]
  private var warned: [String: UInt64] = [:]

  /// Milliseconds between two warnings about one database.
  private static let warningPause: UInt64 = 60_000
  private static let maximumWarned = 1000

  /// How many there are.
  var count: Int { countOfDatabase.values.reduce(0, +) }

  /// The one that was used last: those that are too many age at the other end.
  func take(_ key: PoolKey, for login: ServerLogin) -> PooledServer? {
    guard let server = kept[key]?.last(where: { $0.serves(login) }) else { return nil }
    forget(server)
    return server
  }

  /// Enters `server`; whatever is too many then goes.
  func keep(_ server: PooledServer, of worker: Worker) {
    guard !worker.isDraining else { return server.discard(.shutdown) }
    let membership = server.membership
    let settings = membership.plan.settings
    kept[membership.key, default: []].append(server)
    countOfDatabase[membership.plan.database, default: 0] += 1
    if kept[membership.key]?.count ?? 0 > PoolSettings.share(settings.size, of: worker.reactorCount) {
      kept[membership.key]?.first?.discard(.surplus)
    }
    if countOfDatabase[membership.plan.database] ?? 0
      > PoolSettings.share(settings.databaseSize, of: worker.reactorCount)
    {
      oldest(of: membership.plan.database)?.discard(.surplus)
    }
  }

  /// Takes `server` out.
  func forget(_ server: PooledServer) {
    let (key, database) = (server.membership.key, server.membership.plan.database)
    guard let index = kept[key]?.firstIndex(where: { $0 === server }) else { return }
    kept[key]?.remove(at: index)
    if kept[key]?.isEmpty == true { kept[key] = nil }
    countOfDatabase[database, default: 1] -= 1
    if countOfDatabase[database] == 0 { countOfDatabase[database] = nil }
  }

  private func oldest(of database: String) -> PooledServer? {
    kept.values.lazy.compactMap(\.first).filter { $0.membership.plan.database == database }
      .min { $0.idleSince < $1.idleSince }
  }

  /// Closes all of them.
  func drain() {
    for server in kept.values.joined() { server.discard(.shutdown) }
  }

  /// Logs what would else be said at every return of a connection.
  func warn(_ message: String, about database: String, _ worker: Worker) {
    let now = worker.reactor.now
    if let last = warned[database], now - last < Self.warningPause { return }
    if warned.count >= Self.maximumWarned { warned.removeAll() }
    warned[database] = now
    worker.gateway.warn(message)
  }
}
