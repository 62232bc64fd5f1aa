import Gateway
import PostgresWire
import Reactor
import Secrets

/// Decides logins by the plan, and keeps book of what it is told about its grants.
///
/// Invariant behind `@unchecked Sendable`: a simulation runs on one thread from its beginning to its end.
final class SimulatedAuthorizer: SessionAuthorizer, @unchecked Sendable {
  private let network: SimulatedNetwork
  private let plan: WorldPlan
  private let identities: Identities
  private let book: Book
  /// `nil`: this is a proxy's.
  private let databases: (good: SocketAddress, dead: SocketAddress)?

  init(
    _ network: SimulatedNetwork, _ plan: WorldPlan, _ identities: Identities, _ book: Book,
    databases: (good: SocketAddress, dead: SocketAddress)?
  ) {
    self.network = network
    self.plan = plan
    self.identities = identities
    self.book = book
    self.databases = databases
  }

  func authorize(_ request: SessionRequest) async -> Result<SessionRoute, WireError> { decide(request) }

  private func decide(_ request: SessionRequest) -> Result<SessionRoute, WireError> {
    guard identities.users.contains(where: { $0.der == request.certificate }) else {
      network.violate("a login came with a certificate of nobody")
      return .failure(WireError(.invalidAuthorization, "nobody"))
    }
    guard let databases else { return .success(.agents(database: "dev")) }
    if network.happens(plan.refusals) {
      network.counts.add(.refusal)
      return .failure(WireError(.invalidAuthorization, "access denied"))
    }
    let name = "session \(request.applicationName ?? "?"), grant \(book.grantNames.count)"
    book.grants[name] = GrantRecord()
    book.grantNames.append(name)
    var addresses = [databases.good]
    if network.happens(plan.deadAddresses) {
      network.counts.add(.dialRefused)
      addresses.insert(databases.dead, at: 0)
    }
    return .success(
      .database(
        SessionGrant(
          sessionID: name,
          login: ServerLogin(
            addresses: addresses, tls: identities.toDatabase, serverName: Identities.serverName, user: request.user,
            password: Secret(utf8: "pencil"), isPasswordCached: network.happens(300),
            deriveKeys: { _ throws(AuthenticationFailure) in throw .refused("no keys", hint: nil) }),
          database: request.database, idleTimeout: plan.idleTimeout, lifetime: plan.lifetime)))
  }

  func userName(certificate: [UInt8]) -> String? {
    identities.users.firstIndex { $0.der == certificate }.map { "user \($0)" }
  }

  func cancelRefused(_ sessionID: String?, certificate: [UInt8], clientAddress: String) {}

  func sessionStarting(_ sessionID: String, _ answer: @escaping @Sendable (WireError?) -> Void) {
    answer(record(sessionID))
  }

  private func record(_ sessionID: String) -> WireError? {
    guard network.happens(plan.lateRefusals) else { return nil }
    network.counts.add(.lateRecord)
    return WireError(.cannotConnectNow, "no room in the log")
  }

  func sessionStarted(_ sessionID: String, failure: WireError?) {
    guard book.grants[sessionID] != nil else { return network.violate("a start was told of no grant: \(sessionID)") }
    book.grants[sessionID]?.starts += 1
    if let failure { book.grants[sessionID]?.failure = failure }
  }

  func sessionEnded(_ summary: SessionSummary) {
    guard let grant = book.grants[summary.sessionID] else {
      return network.violate("an end was told of no grant: \(summary.sessionID)")
    }
    if grant.starts == 0 { network.violate("an end was told before the start: \(summary.sessionID)") }
    book.grants[summary.sessionID]?.ends += 1
    book.grants[summary.sessionID]?.endReason = summary.reason
  }
}
