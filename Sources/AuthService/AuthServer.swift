import AccessControl
import Audit
import ControlAPI
import Crypto
import Foundation
import PKI
import Secrets
import StateStore
import TextForms

/// The Auth Service: who may log in, with which roles, and the certificates that say so.
///
/// Thread-safe. Called by the HTTP API and, in the same process, by the Database Service.
public final class AuthServer: Sendable {
  /// The cluster's name, as it was given at the first start.
  public let clusterName: String
  /// Where logins, certificates and changes are recorded.
  public let audit: AuditLog
  /// Audit logs that other hosts bring.
  let hostLogs: HostLogs
  let state: ClusterState
  let sealed: SealedSecrets
  let authorities: AuthorityStore
  private let gate: PasswordGate
  let joinGate = JoinGate()
  let changes: ChangeFeed
  let decisions: DecisionCache
  /// Databases as they were read last.
  let records = RecordCache()
  /// Hashes of the tokens of the configuration, and the services each is for.
  let staticTokens: [String: Set<String>]
  /// Seconds that a host's certificate is good for.
  let hostCertificateLifetime: TimeInterval
  /// Scheme, host and port that links are made with.
  private let publicAddress: String

  /// The name under which the local administrator acts; not a name that a user can have.
  static let localAdministrator = "@local-admin"
  /// Seconds that a link to sign up with is good for, unless something else is asked for.
  static let inviteLifetime = 3600

  /// Opens the state in `dataDirectory`; the first start makes the authorities and the preset roles.
  ///
  /// - Parameters:
  ///   - storage: where the state is; keys stay in `dataDirectory` either way.
  ///   - staticTokens: join tokens of the configuration and the services each is for.
  ///   - hostCertificateLifetime: seconds.
  ///   - hostLogBounds: how much of other hosts' audit logs is kept.
  ///   - exemptSources: addresses that others stand behind, which wrong passwords are not held against.
  public init(
    dataDirectory: String, storage: StateStorage = .sqlite, clusterName: String, publicAddress: String,
    audit: AuditLog,
    staticTokens: [(token: String, services: Set<String>)] = [], hostCertificateLifetime: TimeInterval = 7 * 86_400,
    hostLogBounds: HostLogBounds = HostLogBounds(), exemptSources: [AddressBlock] = []
  ) throws {
    gate = PasswordGate(exempt: exemptSources)
    let changes = ChangeFeed()
    self.changes = changes
    let isOwn = if case .sqlite = storage { true } else { false }
    let decisions = DecisionCache(isUsed: isOwn)
    self.decisions = decisions
    state = try ClusterState(dataDirectory: dataDirectory, storage: storage) {
      decisions.forget()
      changes.announce()
    }
    self.staticTokens = Dictionary(staticTokens.map { (OneTimeSecret.hash($0.token), $0.services) }) { $0.union($1) }
    self.hostCertificateLifetime = hostCertificateLifetime
    sealed = try SealedSecrets(dataDirectory: dataDirectory, state: state)
    self.publicAddress = publicAddress
    self.audit = audit
    hostLogs = HostLogs(
      directory: (audit.path as NSString).deletingLastPathComponent + "/hosts", bounds: hostLogBounds, audit: audit)
    let stored = try state.database.write { database -> String in
      if let name = try String.fetchOne(database, sql: "SELECT value FROM setting WHERE name = 'cluster_name'") {
        return name
      }
      // What a running cluster writes: its state has been lost, and fresh authorities would lock all its clients out.
      let trace = dataDirectory + "/admin/ca.pem"
      guard !FileManager.default.fileExists(atPath: trace) else {
        throw AuthError.internal(
          "the cluster's state is empty, but \(trace) tells of a cluster that was here; restore the state from a backup, or "
            + "move \(dataDirectory) away to begin a new cluster")
      }
      try database.execute(sql: "INSERT INTO setting VALUES ('cluster_name', ?)", arguments: [clusterName])
      for role in Role.presets { try Self.store(role, in: database) }
      return clusterName
    }
    // The name is in every certificate: it stays what it was at the first start.
    self.clusterName = stored
    authorities = try AuthorityStore(state, sealed, clusterName: stored)
  }

  // MARK: Certificates

  /// PEM of the CAs that clients trust the cluster's hosts by.
  public var hostCAPEM: String { get throws { try authorityCertificates.hostPEMs.joined() } }

  /// The CA certificates, as one who checks certificates wants them.
  public var trustedAuthorities: TrustedAuthorities { get throws { try authorities.now.trusted } }

  /// A certificate for the host of the Auth Service itself.
  ///
  /// - Parameter names: names and addresses that it is dialled by.
  public func ownHostCertificate(
    hostID: String, names: [String]
  ) throws -> (certificate: HostCertificate, keyPEM: Secret) {
    let identity = HostIdentity(
      hostID: hostID, name: clusterName, services: ServiceRole.allCases, clusterName: clusterName)
    let authorities = try self.authorities.now
    let validUntil = Date() + 365 * 86_400
    let (pem, key) = try authorities[.host].active.issueHost(identity, names: names, notAfter: validUntil)
    let certificate = HostCertificate(
      hostID: hostID, clusterName: clusterName, certificatePEM: pem, issued: Date(), validUntil: validUntil,
      authorities: authorities.certificates)
    return (certificate, key.pem)
  }

  /// A day's certificate of the local administrator for `key`, for `tctl` on this host.
  public func localAdministratorCertificate(for key: KeyPair) throws -> String {
    let identity = UserIdentity(username: Self.localAdministrator, roles: ["editor"], clusterName: clusterName)
    let request = try key.signingRequestPEM(commonName: Self.localAdministrator)
    let issuer = try authorities.now[.user].active
    return try issuer.issue(identity, signingRequestPEM: request, notAfter: Date() + 86_400)
  }

  // MARK: Identities

  /// What the holder of a verified certificate may do now: its roles that the user still has, as they are today.
  public func checker(for identity: UserIdentity) throws -> AccessChecker {
    guard identity.clusterName == clusterName else {
      throw AuthError.unauthenticated("the certificate is of another cluster; run 'tsh login'")
    }
    if identity.username == Self.localAdministrator {
      let everything = Role(
        name: "local-admin", spec: .init(allow: .init(rules: [.init(resources: ["*"], verbs: ["*"])])))
      return AccessChecker(roles: [everything], traits: [:])
    }
    let name = identity.username
    let known = try decisions.subject(name) {
      try user(name).map { DecisionCache.Subject(roles: $0.roles, traits: $0.traits) }
    }
    guard let user = known else { throw AuthError.unauthenticated("the user no longer exists") }
    try refuseLocked(user: name, roles: identity.roles)
    let names = Set(identity.roles).intersection(user.roles)
    return AccessChecker(roles: try roles(named: names), traits: user.traits)
  }

  // MARK: Login

  /// Checks name and password and issues a certificate of limited life.
  ///
  /// Slow on purpose (scrypt); records the outcome either way.
  ///
  /// - Parameter address: where the request came from, for the record.
  /// - Throws: `AuthError`; the same for every reason that has to do with name or password.
  public func login(_ request: LoginRequest, from address: String) async throws -> LoginResponse {
    var event = AuditEvent("user.login", code: "T1000I")
    event.clusterName = clusterName
    event.extra = [("method", .text("local"))]
    event.user = request.username
    event.clientAddress = address
    do {
      let response = try await checkedLogin(request, from: address)
      event.success = true
      audit.emit(event)
      return response
    } catch {
      event.code = "T1000W"
      event.success = false
      event.message = "\(error)"
      audit.emit(event)
      throw error
    }
  }

  private func checkedLogin(_ request: LoginRequest, from address: String) async throws -> LoginResponse {
    // One answer for all: it does not tell which half was wrong, nor who has a second factor.
    let refused = AuthError.unauthenticated(
      try secondFactorMode == .off ? "wrong user name or password" : "wrong user name, password or one-time code")
    // Before anything is kept under the name: nobody has proved to be anyone yet.
    guard Role.isValidName(request.username), request.password.utf8.count <= PasswordHash.lengths.upperBound else {
      throw refused
    }
    let user = try user(request.username)
    try await gate.enter(request.username, from: address)
    let password = Secret(utf8: request.password)
    let isRight: Bool
    let secondFactor: SecondFactorVerdict
    do {
      // An unknown user costs the same time as a wrong password: one derivation.
      isRight = try (user?.password ?? .ofNobody).matches(password)
      secondFactor = try checkSecondFactor(of: request.username, code: request.otp, spend: isRight)
    } catch {
      await gate.leave(request.username, from: address, succeeded: false)
      throw error
    }
    await gate.leave(request.username, from: address, succeeded: isRight && secondFactor == .passed)
    guard isRight, let user, secondFactor != .refused else { throw refused }
    guard secondFactor != .notEnrolled else {
      throw AuthError.unauthenticated(
        "the cluster demands a second factor and \(user.name) has none; ask for a new link: 'tctl users reset \(user.name)'"
      )
    }
    try refuseLocked(user: user.name, roles: user.roles)
    let checker = AccessChecker(roles: try roles(named: Set(user.roles)), traits: user.traits)
    let wanted = request.ttlSeconds ?? 12 * 3600
    guard wanted > 0 else { throw AuthError.invalid("the ttl must be positive") }
    let validUntil = Date(
      timeIntervalSince1970: (Date().timeIntervalSince1970 + Double(min(wanted, checker.maxSessionTTL))).rounded())
    let identity = UserIdentity(username: user.name, roles: user.roles, traits: user.traits, clusterName: clusterName)
    let certificate = try issue(identity, request.signingRequestPEM, validUntil)
    return LoginResponse(
      certificatePEM: certificate, username: user.name, roles: user.roles, traits: user.traits,
      clusterName: clusterName,
      validUntil: validUntil, hostCAPEM: try hostCAPEM)
  }

  /// A certificate that opens one database, no longer than the one it is asked with.
  func issueDatabaseCertificate(
    _ request: DatabaseCertificateRequest, identity: UserIdentity
  ) throws -> DatabaseCertificateResponse {
    var routed = identity
    routed.route = DatabaseRoute(
      service: request.service, databaseUser: request.databaseUser, databaseName: request.databaseName)
    let certificate = try issue(routed, request.signingRequestPEM, identity.notValidAfter)
    return DatabaseCertificateResponse(
      certificatePEM: certificate, validUntil: identity.notValidAfter, hostCAPEM: try hostCAPEM)
  }

  private func issue(_ identity: UserIdentity, _ signingRequest: String, _ notAfter: Date) throws -> String {
    let certificate = try Self.forCaller {
      try authorities.now[.user].active.issue(identity, signingRequestPEM: signingRequest, notAfter: notAfter)
    }
    var event = AuditEvent("cert.create", code: "TC000I")
    event.clusterName = clusterName
    event.user = identity.username
    event.databaseService = identity.route?.service
    audit.emit(event)
    return certificate
  }

  /// Pins of the host CAs that are trusted, that of the issuing one first.
  func pins() throws -> [String] { try authorityCertificates.hostPEMs.map { try caPin(ofPEM: $0) } }

  func link(_ path: String) -> String { "https://\(publicAddress)\(path)" }
}

/// Names and compares secrets that are random enough to need no slow hash: tokens and invites.
enum OneTimeSecret {
  /// 256 random bits in hex.
  static func make() -> String {
    Hex.encode((0..<32).map { _ in UInt8.random(in: .min ... .max) })
  }

  /// What is stored: looking a hash up tells nothing about the secret by its timing.
  static func hash(_ secret: String) -> String {
    Hex.encode(SHA256.hash(data: Data(secret.utf8)))
  }
}

extension AuthServer {
  /// Whether `dataDirectory` holds a cluster's state already.
  public static func hasState(in dataDirectory: String) -> Bool {
    [ClusterState.path(in: dataDirectory), SealedSecrets.path(in: dataDirectory)].contains {
      FileManager.default.fileExists(atPath: $0)
    }
  }
}
