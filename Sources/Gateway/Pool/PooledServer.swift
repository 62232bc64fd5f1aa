import PostgresWire
import Reactor

/// A server connection's life beyond one client: what it needs to become as good as new, and how long it may wait.
///
/// Belongs to its `ServerChannel`, which passes on what concerns it between two clients.
final class PooledServer {
  private enum State {
    case lent
    /// Cancels are on their way to it.
    case settling
    case resetting, kept, checking
  }

  private unowned let channel: ServerChannel
  private(set) var membership: PoolMembership
  /// What the database last reported.
  var parameters = ParameterBook()
  private var state = State.lent
  private var timer: Reactor.Timer?
  private var query = QuietQuery()
  private var cancels = 0
  private var isTainted = false
  /// By the reactor's clock, as all moments here.
  private let lifetimeEnd: UInt64
  private let credentialsEnd: UInt64
  private(set) var idleSince: UInt64 = 0
  private var wasUsed = false
  /// Who gets it if it answers.
  private var taker: (any ServerTaker)?
  /// In mode transaction.
  var statements: ServerStatements

  /// Milliseconds that cancels and the reset may take together, and the check.
  private static let resetDeadline: UInt64 = 15_000
  private static let checkDeadline: UInt64 = 5_000

  /// - Parameter validity: milliseconds that the credentials it is opened with are good for.
  init(_ channel: ServerChannel, _ membership: PoolMembership, validity: UInt64?) {
    self.channel = channel
    self.membership = membership
    statements = ServerStatements(limit: membership.plan.settings.maximumStatements)
    let now = channel.reactor.now
    lifetimeEnd = now &+ membership.plan.settings.lifetime
    credentialsEnd = validity.map { now &+ $0 } ?? .max
  }

  private var settings: PoolSettings { membership.plan.settings }
  private var pools: ServerPools { channel.worker.pools }
  private var now: UInt64 { channel.reactor.now }

  /// What a client is told that is not the first; the first gets the database's own words.
  var greeting: ServerGreeting? {
    guard wasUsed else { return nil }
    return ServerGreeting(parameterStatus: parameters.encoded, transactionStatus: UInt8(ascii: "I"))
  }

  func loggedIn(_ greeting: ServerGreeting) { greeting.parameterStatus.withUnsafeBytes { parameters.note($0) } }

  // MARK: Use

  /// Bytes of the database for the client that has the connection.
  func relay(_ bytes: UnsafeRawBufferPointer, to client: ClientLeg) {
    parameters.note(bytes)
    if let transactions = client.transactions { return transactions.answer(bytes) }
    if !client.deliver(bytes) { channel.pauseReceiving() }
  }

  // MARK: Return

  /// Its client has left it at rest.
  func release() {
    wasUsed = true
    state = .settling
    startTimer(Self.resetDeadline)
    settle()
  }

  /// A cancel is sent to the database for it.
  func cancelBegan() { cancels += 1 }

  /// - Parameter isCertain: the cancel has had its effect or will never have one.
  func cancelEnded(isCertain: Bool) {
    cancels -= 1
    if !isCertain { isTainted = true }
    if state == .settling { settle() }
  }

  private func settle() {
    guard !isTainted else { return discard(.cancel) }
    guard cancels == 0 else { return }
    let isDue = settings.mode == .session || settings.resetsAlways
    guard isDue, !settings.resetQuery.isEmpty else { return keep() }
    state = .resetting
    query = QuietQuery()
    channel.write(Encode.query(settings.resetQuery))
  }

  private func keep() {
    if let reason = ending { return discard(reason) }
    if let shared = membership.shared, shared.returned(self) { return }
    state = .kept
    idleSince = now
    startTimer(min(settings.idleTimeout, lifetimeEnd - now, credentialsEnd - now))
    channel.worker.counters.pool.kept &+= 1
    pools.keep(self, of: channel.worker)
    if membership.shared != nil { pools.roomMade(in: membership.plan.database) }
  }

  /// Why nobody gets it any more, if it is too old.
  private var ending: PoolCounters.Reason? {
    now >= credentialsEnd ? .credentials : now >= lifetimeEnd ? .lifetime : nil
  }

  // MARK: Next use

  /// Whether it may still be used and leads where `login` does, if that matters.
  func serves(_ login: ServerLogin?) -> Bool {
    guard ending == nil else { return false }
    guard let login else { return true }
    let address = channel.address.description
    return login.addresses.contains { $0.description == address }
  }

  /// Whether its next client need not wait for its check.
  var isFresh: Bool { now - idleSince < settings.checkDelay }

  /// The connection, which is not kept any more, for a client that takes it at once.
  func lendNow() -> ServerChannel {
    stopTimer()
    state = .lent
    channel.worker.counters.pool.reused &+= 1
    return channel
  }

  /// It is not kept any more and is to become `taker`'s.
  func lend(_ taker: any ServerTaker) {
    if let plan = taker.plan { membership = PoolMembership(key: membership.key, plan: plan) }
    taker.expect(channel)
    // Just returned, it has answered just now.
    guard state == .kept, !isFresh else { return taker.take(lendNow()) }
    self.taker = taker
    state = .checking
    query = QuietQuery()
    startTimer(Self.checkDeadline)
    channel.write(Encode.query(""))
  }

  // MARK: Between two clients

  /// Bytes of the database while no client has it.
  func received(_ bytes: UnsafeRawBufferPointer) {
    guard state == .resetting || state == .checking else { return discard(.unexpected) }
    switch (query.take(bytes, &parameters), state) {
    case (.underway, _): break
    case (.succeeded, .resetting):
      if query.dropsStatements { statements.removeAll() }
      statements.unnamed = .none
      keep()
    case (.succeeded, _):
      statements.unnamed = .none
      guard let taker = withoutTaker() else { return discard(.check) }
      taker.take(lendNow())
    case (.failed(let reason), .resetting):
      pools.warn(
        "database '\(membership.plan.database)': no connection is kept, since server_reset_query fails: \(reason). "
          + "Write one that this database knows.", about: membership.plan.database, channel.worker)
      discard(.reset)
    case (.failed, _): discard(.check)
    }
  }

  func timerFired() {
    switch state {
    case .lent: break
    case .settling: discard(.cancel)
    case .resetting: discard(.reset)
    case .checking: discard(.check)
    case .kept: discard(ending ?? .idleTimeout)
    }
  }

  private func startTimer(_ milliseconds: UInt64) {
    stopTimer()
    timer = channel.startPoolTimer(after: milliseconds)
  }

  private func stopTimer() {
    if let timer { channel.reactor.cancel(timer) }
    timer = nil
  }

  // MARK: Ends

  /// Closes it, with a goodbye; whoever was to get it gets another.
  func discard(_ reason: PoolCounters.Reason) {
    let taker = withoutTaker()
    channel.discard()
    leave(reason)
    taker?.tryAgain()
  }

  /// The connection broke or the database closed it.
  func lost() {
    let taker = withoutTaker()
    leave(.closed)
    taker?.tryAgain()
  }

  /// Its client left it in the middle of something.
  func abandoned() {
    taker = nil
    leave(.unfinished)
  }

  private func leave(_ reason: PoolCounters.Reason) {
    if state == .kept { pools.forget(self) }
    state = .lent
    stopTimer()
    channel.worker.counters.pool.discarded[reason, default: 0] &+= 1
    membership.shared?.lost()
  }

  private func withoutTaker() -> (any ServerTaker)? {
    defer { taker = nil }
    return taker
  }
}
