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
  private var attempt: PoolAttempt?

  /// Milliseconds that cancels and the reset may take together, and the check.
  private static let resetDeadline: UInt64 = 15_000
  private static let checkDeadline: UInt64 = 5_000

  /// - Parameter validity: milliseconds that the credentials it is opened with are good for.
  init(_ channel: ServerChannel, _ membership: PoolMembership, validity: UInt64?) {
    self.channel = channel
    self.membership = membership
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
    guard !settings.resetQuery.isEmpty else { return keep() }
    state = .resetting
    query = QuietQuery()
    channel.write(Encode.query(settings.resetQuery))
  }

  private func keep() {
    if let reason = ending { return discard(reason) }
    state = .kept
    idleSince = now
    startTimer(min(settings.idleTimeout, lifetimeEnd - now, credentialsEnd - now))
    channel.worker.counters.pool.kept &+= 1
    pools.keep(self, of: channel.worker)
  }

  /// Why nobody gets it any more, if it is too old.
  private var ending: PoolCounters.Reason? {
    now >= credentialsEnd ? .credentials : now >= lifetimeEnd ? .lifetime : nil
  }

  // MARK: Next use

  /// Whether it leads where `login` does, and may still be used.
  func serves(_ login: ServerLogin) -> Bool {
    let address = channel.address.description
    return ending == nil && login.addresses.contains { $0.description == address }
  }

  /// It is not kept any more and is to become `attempt`'s.
  func lend(_ attempt: PoolAttempt) {
    membership = attempt.membership
    attempt.owner.attach(channel)
    guard now - idleSince >= settings.checkDelay else { return hand(to: attempt) }
    self.attempt = attempt
    state = .checking
    query = QuietQuery()
    startTimer(Self.checkDeadline)
    channel.write(Encode.query(""))
  }

  private func hand(to attempt: PoolAttempt) {
    stopTimer()
    state = .lent
    channel.worker.counters.pool.reused &+= 1
    channel.lend(to: attempt.owner)
    attempt.owner.serverLoggedIn(channel)
  }

  // MARK: Between two clients

  /// Bytes of the database while no client has it.
  func received(_ bytes: UnsafeRawBufferPointer) {
    guard state == .resetting || state == .checking else { return discard(.unexpected) }
    switch (query.take(bytes, &parameters), state) {
    case (.underway, _): break
    case (.succeeded, .resetting): keep()
    case (.succeeded, _):
      guard let attempt = takeAttempt() else { return discard(.check) }
      hand(to: attempt)
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
    leave(reason)
    let attempt = takeAttempt()
    channel.discard()
    attempt?.run()
  }

  /// The connection broke or the database closed it.
  func lost() {
    leave(.closed)
    takeAttempt()?.run()
  }

  /// Its client left it in the middle of something.
  func abandoned() {
    attempt = nil
    leave(.unfinished)
  }

  private func leave(_ reason: PoolCounters.Reason) {
    if state == .kept { pools.forget(self) }
    state = .lent
    stopTimer()
    channel.worker.counters.pool.discarded[reason, default: 0] &+= 1
  }

  private func takeAttempt() -> PoolAttempt? {
    defer { attempt = nil }
    return attempt
  }
}
