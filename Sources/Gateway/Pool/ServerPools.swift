import PostgresWire
import Reactor

/// Whoever gets a server connection that somebody has used before.
protocol ServerTaker {
  /// Under which plan it is used from now on; `nil`: as before.
  var plan: PoolPlan? { get }
  /// It may be this one, once it has shown that it is alive.
  func expect(_ server: ServerChannel)
  func take(_ server: ServerChannel)
  /// It is not alive.
  func tryAgain()
}

/// A session's wish for a connection of its own: one that is kept, or else a new one.
struct PoolAttempt: ServerTaker {
  let membership: PoolMembership
  let login: ServerLogin
  let owner: any ServerOwner
  let worker: Worker

  var plan: PoolPlan? { membership.plan }

  func run() {
    if let kept = worker.pools.take(membership.key, for: login) { return kept.lend(self) }
    ServerChannel.dial(login, startup: membership.key.startup, owner: owner, worker: worker, pool: membership)
  }

  func expect(_ server: ServerChannel) { owner.attach(server) }

  func take(_ server: ServerChannel) {
    server.lend(to: owner)
    owner.serverLoggedIn(server)
  }

  func tryAgain() { run() }
}

/// The server connections of one reactor that wait for their next client.
final class ServerPools {
  /// By what their users have in common; of each, the one that has waited longest first.
  private var kept: [PoolKey: [PooledServer]] = [:]
  private var countOfDatabase: [String: Int] = [:]
  private var warned: [String: UInt64] = [:]
  /// The pools of mode transaction.
  var shared: [PoolKey: TransactionPool] = [:]
  /// Their connections, by database.
  private var sharedOfDatabase: [String: Int] = [:]

  /// Milliseconds between two warnings about one database.
  private static let warningPause: UInt64 = 60_000
  private static let maximumWarned = 1000

  /// How many there are.
  var count: Int { countOfDatabase.values.reduce(0, +) }

  /// The one that was used last: those that are too many age at the other end.
  ///
  /// - Parameter login: names the addresses it has to lead to; `nil`: any.
  func take(_ key: PoolKey, for login: ServerLogin?) -> PooledServer? {
    guard let server = kept[key]?.last(where: { $0.serves(login) }) else { return nil }
    forget(server)
    return server
  }

  /// The one that was used last, if it needs no check.
  func takeFresh(_ key: PoolKey) -> ServerChannel? {
    guard let server = kept[key]?.last, server.isFresh, server.serves(nil) else { return nil }
    forget(server)
    return server.lendNow()
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

  // MARK: Mode transaction

  /// The pool of `plan` and `startup`, a new one if there is none.
  func sharedPool(_ plan: PoolPlan, startup: [UInt8], _ worker: Worker) -> TransactionPool {
    let key = PoolKey(plan, startup: startup)
    if let known = shared[key] { return known }
    let pool = TransactionPool(key, plan, worker: worker)
    shared[key] = pool
    return pool
  }

  /// Clients that wait for a connection.
  var waitingCount: Int { shared.values.reduce(0) { $0 + $1.waitingCount } }

  /// Connections of shared pools, kept or in use.
  var sharedCount: Int { sharedOfDatabase.values.reduce(0, +) }

  func count(_ change: Int, in database: String) {
    sharedOfDatabase[database, default: 0] += change
    if sharedOfDatabase[database] == 0 { sharedOfDatabase[database] = nil }
  }

  /// Whether one more connection to `database` may be opened; closes one of another pool that nobody uses for it.
  func makeRoom(in database: String, _ settings: PoolSettings, _ worker: Worker) -> Bool {
    let limit = PoolSettings.share(settings.databaseSize, of: worker.reactorCount)
    if sharedOfDatabase[database] ?? 0 >= limit { oldest(of: database)?.discard(.surplus) }
    return sharedOfDatabase[database] ?? 0 < limit
  }

  /// One connection less to `database`, or one more that nobody uses: another pool of it may have waited for that.
  func roomMade(in database: String) {
    for pool in shared.values where pool.waitingCount > 0 && pool.plan.database == database { pool.openMore() }
  }

  // MARK: Ends

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
