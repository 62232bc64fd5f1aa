import PostgresWire
import Reactor

/// The server connections that clients of one key share at transaction level, on one reactor, and who waits for one.
final class TransactionPool {
  let key: PoolKey
  /// Of the client that came last.
  private(set) var plan: PoolPlan
  private unowned let worker: Worker
  var statements = StatementTable()
  /// What a client is told before it has had a connection; `nil` before the first login.
  private(set) var parameters: ParameterBook?
  private var waiting: [TransactionSession] = []
  private var sessions = 0
  /// Connections there are, and those of them whose login is not over.
  private var open = 0
  private var dialling = 0

  init(_ key: PoolKey, _ plan: PoolPlan, worker: Worker) {
    self.key = key
    self.plan = plan
    self.worker = worker
  }

  private var settings: PoolSettings { plan.settings }
  private var size: Int { PoolSettings.share(settings.size, of: worker.reactorCount) }
  var waitingCount: Int { waiting.count }

  // MARK: Sessions

  /// A session begins; it needs a connection only if there has been none yet.
  func admit(_ session: TransactionSession, _ plan: PoolPlan) {
    self.plan = plan
    sessions += 1
    if let parameters, open > dialling { return session.welcome(parameters) }
    want(session)
  }

  /// A session is over.
  func leave(_ session: TransactionSession) {
    waiting.removeAll { $0 === session }
    sessions -= 1
    retireIfUnused()
  }

  /// A connection at once, if nobody has to be asked or passed over for it.
  func takeNow() -> ServerChannel? {
    guard waiting.isEmpty else { return nil }
    return worker.pools.takeFresh(key)
  }

  /// Gives `session` a connection as soon as there is one.
  ///
  /// - Parameter isFirst: it has waited already.
  func want(_ session: TransactionSession, isFirst: Bool = false) {
    if isFirst || waiting.isEmpty, let kept = worker.pools.take(key, for: nil) { return kept.lend(session) }
    guard waiting.count < PoolSettings.share(settings.maximumWaiting, of: worker.reactorCount) else {
      return session.refused(
        WireError(
          .tooManyConnections, "too many clients wait for a connection to the database",
          hint: "Try again later; the bounds are pool_size and max_waiting_clients of the database's pool."))
    }
    if isFirst { waiting.insert(session, at: 0) } else { waiting.append(session) }
    session.waits(atMost: settings.waitTimeout)
    openMore()
  }

  // MARK: Connections

  /// As many new ones as there is need for and room.
  func openMore() {
    while waiting.count > dialling, open < size, worker.pools.makeRoom(in: plan.database, settings, worker) {
      open += 1
      dialling += 1
      worker.pools.count(1, in: plan.database)
      dial(rejected: nil)
    }
  }

  private func dial(rejected: ServerLogin?) {
    let (key, login, mailbox) = (key, plan.login, worker.reactor.mailbox)
    worker.gateway.pool.run {
      let outcome = await login(rejected)
      // One for each connection at most: the pool counts on it.
      mailbox.post(evenIfFull: true) { reactor in
        Worker.of(reactor)?.pools.shared[key]?.connect(outcome, isRetry: rejected != nil)
      }
    }
  }

  private func connect(_ outcome: Result<ServerLogin, WireError>, isRetry: Bool) {
    switch outcome {
    case .failure(let error): failed(error, at: nil)
    case .success(let login):
      ServerChannel.dial(
        login, startup: key.startup, owner: PoolDial(self, login, isRetry: isRetry), worker: worker,
        pool: PoolMembership(key: key, plan: plan, shared: self))
    }
  }

  fileprivate func failed(_ error: WireError, at link: LoginLink?, _ dial: PoolDial) {
    guard !dial.isRetry, let login = dial.rejected else { return failed(error, at: link) }
    self.dial(rejected: login)
  }

  /// Whoever has waited longest hears of it; the next one's try is its own.
  private func failed(_ error: WireError, at link: LoginLink?) {
    open -= 1
    dialling -= 1
    worker.pools.count(-1, in: plan.database)
    if !waiting.isEmpty { waiting.removeFirst().refused(error, at: link) }
    worker.pools.roomMade(in: plan.database)
    retireIfUnused()
  }

  fileprivate func loggedIn(_ server: ServerChannel) {
    dialling -= 1
    parameters = server.pooled?.parameters
    server.giveBack()
  }

  /// A connection is free. Returns whether somebody has waited for it.
  func returned(_ server: PooledServer) -> Bool {
    guard !waiting.isEmpty else { return false }
    server.lend(waiting.removeFirst())
    return true
  }

  /// A connection is no more.
  func lost() {
    open -= 1
    worker.pools.count(-1, in: plan.database)
    worker.pools.roomMade(in: plan.database)
    retireIfUnused()
  }

  private func retireIfUnused() {
    if sessions == 0, open == 0 { worker.pools.shared[key] = nil }
  }
}

/// A connection of a pool until its login is over.
final class PoolDial: ServerOwner {
  private let pool: TransactionPool
  private let login: ServerLogin
  let isRetry: Bool
  /// The login, if its password was refused.
  private(set) var rejected: ServerLogin?

  init(_ pool: TransactionPool, _ login: ServerLogin, isRetry: Bool) {
    self.pool = pool
    self.login = login
    self.isRetry = isRetry
  }

  func attach(_ server: ServerLeg) {}

  func serverFailed(_ error: WireError, rejectedPassword: Bool, at link: LoginLink?) {
    if rejectedPassword, login.isPasswordCached { rejected = login }
    pool.failed(error, at: link, self)
  }

  func serverLoggedIn(_ server: ServerChannel) { pool.loggedIn(server) }
}
