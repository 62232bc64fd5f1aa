import AccessControl
import ControlAPI
import ControlClient
import Foundation
import Logging
import PKI
import Secrets
import Synchronization

/// A host's membership in a cluster whose Auth Service runs elsewhere: joins once, renews its certificate, keeps a
/// snapshot of the cluster to decide by, reports what it serves.
///
/// While the Auth Service is out of reach everything goes on with the last snapshot, over restarts too. Thread-safe.
public final class Membership: Sendable {
  /// How to find the cluster and what to be in it.
  public struct Options: Sendable {
    public var dataDirectory: String
    /// HOST:PORT of proxies or Auth Services; the next is asked when one fails.
    public var servers: [String]
    public var services: [ServiceRole]
    public var hostName: String
    /// Names and addresses that a proxy is dialled by.
    public var publicNames: [String]
    /// Gives the join token; asked only if the host has not joined yet.
    public var token: @Sendable () throws -> Secret
    /// Proves the host's AWS identity to a challenge, with a token of method `iam`; `nil` with one that is a secret.
    public var proveIdentity: (@Sendable (_ challenge: String) async throws -> IAMProof)?
    /// `sha256:...` of the host CA; without one the server's certificate must be trusted by the system.
    public var caPins: [String]

    public init(
      dataDirectory: String, servers: [String], services: [ServiceRole], hostName: String, publicNames: [String],
      token: @escaping @Sendable () throws -> Secret, caPins: [String]
    ) {
      self.dataDirectory = dataDirectory
      self.servers = servers
      self.services = services
      self.hostName = hostName
      self.publicNames = publicNames
      self.token = token
      self.caPins = caPins
    }
  }

  private struct State {
    var identities: HostIdentities
    var authorities: AuthorityCertificates
    var snapshot: ClusterSnapshot
    var heartbeat: HostHeartbeat
    /// What the Auth Service said when it shut this host out.
    var exclusion: String?
  }

  public let clusterName: String
  /// How long a host that has yet to join waits for a cluster that does not answer.
  private static let patience = Duration.seconds(30)

  private let options: Options
  private let store: HostStore
  private let rotation: ServerRotation
  private let state: Mutex<State>
  let logger = Logger(label: "member")

  /// Joins, or takes up a membership of an earlier run.
  ///
  /// A host whose certificate ran out while it was away joins anew.
  ///
  /// - Throws: `ToolError` or `PKIError`, in one line with the mend. An Auth Service out of reach is an error only for a
  ///   host that has no snapshot of it yet.
  public init(_ options: Options) async throws {
    self.options = options
    let rotation = ServerRotation(options.servers)
    self.rotation = rotation
    store = try HostStore(dataDirectory: options.dataDirectory)
    let certificate: HostCertificate
    let key: Secret
    if let stored = try store.load(), stored.certificate.validUntil > Date() {
      (certificate, key) = stored
    } else {
      // Also for a host that was away for longer than its certificate is good: it has to be let in anew.
      let fresh = KeyPair.generate()
      certificate = try await Self.onceReachable(logger) {
        try await rotation.firstThatAnswers { try await Self.join(options, at: $0, fresh) }
      }
      key = fresh.pem
      try store.save(certificate, keyPEM: key)
    }
    clusterName = certificate.clusterName
    let credentials = HostCredentials(certificate, keyPEM: key)
    var state = State(
      identities: HostIdentities(credentials), authorities: certificate.authorities,
      snapshot: ClusterSnapshot(
        revision: 0, clusterName: certificate.clusterName, authorities: certificate.authorities, roles: [], users: [],
        proxies: [], locks: []),
      heartbeat: HostHeartbeat(proxyAddress: nil, databases: []))
    do {
      let authorities = state.authorities
      state.snapshot = try await rotation.firstThatAnswers {
        try await Self.fetch($0, credentials, authorities, after: 0, wait: 0)
      }
      try store.save(state.snapshot)
    } catch {
      if let error = error as? ToolError, error.status == 403 { throw error }
      if await Self.isLeftBehind(rotation.current, state.authorities, by: error) { throw Self.leftBehind(options) }
      guard let cached = try store.loadSnapshot() else { throw error }
      logger.warning("the Auth Service is out of reach; going on with what was known: \(error)")
      state.snapshot = cached
    }
    state.authorities = state.snapshot.authorities
    self.state = Mutex(state)
  }

  public var credentials: HostCredentials { state.withLock { $0.identities.current } }
  public var servingCredentials: HostCredentials { state.withLock { $0.identities.serving } }
  /// Why the Auth Service wants nothing to do with this host any more; `nil`: it does.
  public var exclusion: String? { state.withLock { $0.exclusion } }
  public var snapshot: ClusterSnapshot { state.withLock { $0.snapshot } }
  public var authorities: AuthorityCertificates { state.withLock { $0.authorities } }

  /// Reports `heartbeat` now and from now on. If the cluster is out of reach now, `run` goes on trying.
  public func report(_ heartbeat: HostHeartbeat) async {
    state.withLock { $0.heartbeat = heartbeat }
    do {
      try await sendHeartbeat()
    } catch {
      logger.warning("the cluster has not heard yet what this host serves: \(error)")
    }
  }

  /// A certificate that speaks for a user of a database which this host serves.
  public func signDatabaseClient(_ request: DatabaseClientCertificateRequest) async throws -> SignedCertificate {
    try await call { try await $0.post("/v1/certificates/database-client", request) }
  }

  /// Asks for a place among the sessions that a user may have at once.
  public func lease(_ request: SessionLeaseRequest) async throws -> SessionLeaseAnswer {
    try await call { try await $0.post("/v1/hosts/sessions", request) }
  }

  /// Keeps such places and gives others back.
  public func renewLeases(_ renewal: SessionLeaseRenewal) async throws {
    try await call { try await $0.send("/v1/hosts/sessions/renew", renewal) }
  }

  /// Tells the cluster what a discovery group has found.
  public func share(_ found: DiscoveredDatabases) async throws -> DiscoveryAnswer {
    try await call { try await $0.post("/v1/discovery/databases", found) }
  }

  // MARK: Joining

  /// A cluster that is just being started is waited for; what it answers counts at once.
  private static func onceReachable<Answer>(
    _ logger: Logger, _ ask: () async throws -> Answer
  ) async throws -> Answer {
    let deadline = ContinuousClock.now + patience
    while true {
      do {
        return try await ask()
      } catch let error as ToolError where error.isUnreachable && ContinuousClock.now < deadline {
        logger.warning("joining again in a moment: \(error)")
        try await Task.sleep(for: .seconds(1))
      }
    }
  }

  private static func join(_ options: Options, at server: String, _ key: KeyPair) async throws -> HostCertificate {
    // Whom to trust is settled before the token leaves the host.
    let trusted = try await pinnedAuthorities(options, at: server)
    let token = try options.token()
    let request = JoinRequest(
      token: token.revealText() ?? "", services: options.services.map(\.rawValue), hostName: options.hostName,
      publicNames: options.publicNames, signingRequestPEM: try key.signingRequestPEM(commonName: options.hostName))
    let certificate: HostCertificate = try await APIClient(address: server, trustedCAPEMs: trusted).closing {
      guard let prove = options.proveIdentity else { return try await $0.post("/v1/join", request) }
      let challenge: IAMChallenge = try await $0.post("/v1/join/iam/challenge", [String: String]())
      let proof = try await prove(challenge.challenge)
      return try await $0.post(
        "/v1/join/iam", IAMJoinRequest(join: request, challenge: challenge.challenge, proof: proof))
    }
    let pins = try certificate.authorities.hostPEMs.map { try caPin(ofPEM: $0) }
    guard options.caPins.isEmpty || !Set(pins).isDisjoint(with: options.caPins) else { throw pinMismatch(server) }
    return certificate
  }

  /// The host CAs that the pins vouch for; none without pins.
  private static func pinnedAuthorities(_ options: Options, at server: String) async throws -> [String] {
    guard !options.caPins.isEmpty else { return [] }
    // Nothing secret crosses this connection, and what it brings has to match the pin.
    let text: String = try await APIClient(address: server, insecure: true).closing {
      try await $0.getText("/v1/webapi/cas")
    }
    let matching = try certificates(in: text).filter { options.caPins.contains(try caPin(ofPEM: $0)) }
    guard !matching.isEmpty else { throw pinMismatch(server) }
    return matching
  }

  private static func pinMismatch(_ server: String) -> ToolError {
    ToolError(
      "the CA of \(server) does not match ca_pin; the token was not sent",
      hint: "compare with 'tctl status' on the Auth Service's host")
  }

  // MARK: Calls

  private static func client(
    _ server: String, _ credentials: HostCredentials, _ authorities: AuthorityCertificates
  ) throws -> APIClient {
    try APIClient(
      address: server,
      identity: ClientIdentity(certificatePEM: credentials.certificatePEM, keyPEM: credentials.keyPEM),
      trustedCAPEMs: authorities.hostPEMs)
  }

  static func fetch(
    _ server: String, _ credentials: HostCredentials, _ authorities: AuthorityCertificates, after revision: Int64,
    wait: Int
  ) async throws -> ClusterSnapshot {
    try await client(server, credentials, authorities).closing {
      try await $0.get("/v1/snapshot?after=\(revision)&wait=\(wait)")
    }
  }

  func call<Answer>(_ body: (APIClient) async throws -> Answer) async throws -> Answer {
    let (credentials, authorities) = state.withLock { ($0.identities.current, $0.authorities) }
    return try await Self.client(rotation.current, credentials, authorities).closing(body)
  }

  // MARK: Going on

  private static let longPoll = 20
  private static let shortestPause = 0.5
  private static let longestPause = 30.0

  /// Renews, watches and reports until cancelled.
  ///
  /// - Parameter changed: called when there is a new snapshot, or a new certificate of this host.
  public func run(_ changed: @escaping @Sendable () async -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await self.watch(changed) }
      group.addTask { try await self.keepReporting() }
      group.addTask { try await self.renew(changed) }
      try await group.waitForAll()
    }
  }

  /// Repeats `step` for ever; after failures with growing, jittered pauses.
  func keep(_ what: String, _ step: () async throws -> Void) async throws {
    var failures = 0
    while true {
      try Task.checkCancellation()
      do {
        try await step()
        if failures > 0 { logger.info("\(what) works again") }
        failures = 0
      } catch {
        try Task.checkCancellation()
        rotation.advance()
        let ceiling = min(Self.longestPause, Self.shortestPause * Double(1 << min(failures, 10)))
        failures += 1
        logger.warning("\(what) failed: \(error)")
        try await Task.sleep(for: .seconds(Double.random(in: ceiling / 2...ceiling)))
      }
    }
  }

  private func watch(_ changed: @Sendable () async -> Void) async throws {
    try await keep("watching the cluster") {
      let (credentials, authorities, revision) = state.withLock {
        ($0.identities.current, $0.authorities, $0.snapshot.revision)
      }
      let snapshot: ClusterSnapshot
      do {
        snapshot = try await Self.fetch(
          rotation.current, credentials, authorities, after: revision, wait: Self.longPoll)
      } catch let error as ToolError where error.status == 403 {
        let isNews = state.withLock { state in
          defer { state.exclusion = error.description }
          return state.exclusion != error.description
        }
        if isNews { await changed() }
        throw error
      } catch {
        throw await Self.isLeftBehind(rotation.current, authorities, by: error) ? Self.leftBehind(options) : error
      }
      let wasExcluded = state.withLock { state in
        defer { state.exclusion = nil }
        return state.exclusion != nil
      }
      guard snapshot.revision != revision || wasExcluded else { return }
      state.withLock { state in
        state.snapshot = snapshot
        state.authorities = snapshot.authorities
        state.identities.settle(snapshot.authorities)
      }
      await changed()
      // A full disk must not keep what is news from counting.
      try store.save(snapshot)
    }
  }

  private func keepReporting() async throws {
    try await keep("reporting to the cluster") {
      try await sendHeartbeat()
      try await Task.sleep(for: .seconds(HostHeartbeat.interval))
    }
  }

  private func sendHeartbeat() async throws {
    var beat = state.withLock { $0.heartbeat }
    beat.version = sallyportVersion
    try await call { try await $0.send("/v1/hosts/heartbeat", beat) }
  }

  /// Tells the cluster that this host is leaving. Best effort: without it the entries run out by themselves.
  public func leave() async {
    do {
      try await call { try await $0.delete("/v1/hosts/heartbeat") }
    } catch {
      logger.info("could not take leave of the cluster: \(error)")
    }
  }

  /// Returns when the certificate is half worn out, or another CA issues: hosts take up its certificates by themselves.
  private func waitUntilRenewal() async throws {
    let earliest = Date() + 1
    let due = max(earliest, state.withLock { $0.identities.renewalTime })
    while Date() < due, !state.withLock({ $0.identities.isOutdated(by: $0.authorities) }) {
      try await Task.sleep(for: .seconds(min(Self.rotationCheck, max(0.05, due.timeIntervalSinceNow))))
    }
  }

  private static let rotationCheck = 0.5

  private func renew(_ changed: @Sendable () async -> Void) async throws {
    try await keep("renewing the host certificate") {
      try await waitUntilRenewal()
      let key = KeyPair.generate()
      let request = RenewalRequest(
        publicNames: options.publicNames, signingRequestPEM: try key.signingRequestPEM(commonName: options.hostName))
      let certificate: HostCertificate = try await call { try await $0.post("/v1/hosts/renew", request) }
      try store.save(certificate, keyPEM: key.pem)
      state.withLock { state in
        state.identities.replace(with: HostCredentials(certificate, keyPEM: key.pem), certificate.authorities)
        state.authorities = certificate.authorities
      }
      logger.info("host certificate renewed", metadata: ["until": "\(certificate.validUntil)"])
      await changed()
    }
  }
}
