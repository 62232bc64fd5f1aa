import AWS
import AccessControl
import Audit
import Foundation
import Gateway
import Logging
import PKI
import PostgresWire
import Secrets
import Synchronization

/// Decides each login: certificate, route, roles, then AWS, then where to dial. Runs on the Dispatch pool.
public final class DatabaseAuthorizer: SessionAuthorizer {
  private let catalog: DatabaseCatalog
  private let identify: @Sendable ([UInt8]) throws -> UserIdentity
  private let checker: @Sendable (UserIdentity) throws -> AccessChecker
  /// The locks in force.
  let locks: @Sendable () throws -> [Lock]
  private let authenticator: RedshiftAuthenticator
  private let audit: AuditLog
  private let keys = ScramKeyCache()
  private let names = NameLookups()
  private let clientCertificates: ClientCertificates
  /// Bounds how many sessions a user has; its `run` is the caller's to start.
  public let leases: SessionLeases
  private let logger = Logger(label: "db")
  private var refusals: Refusals { Refusals(logger: logger) }
  private let queries: QueryAuditor?
  private let serverID: String
  /// What is known of granted sessions, for the records of their start and end.
  private let sessions = Mutex<[String: GrantedSession]>([:])

  private struct GrantedSession {
    let event: AuditEvent
    /// The number its statements are recorded under.
    let recording: UInt64?
    let lockable: LockableSession
    /// Its start is on record.
    var isStarted = false
  }

  /// - Parameters:
  ///   - catalog: the databases to serve; what changes in it counts for logins that begin from then on.
  ///   - queries: records what sessions ask; `nil`: nothing does.
  ///   - serverID: names this service's host in records.
  ///   - identify: whom a certificate (DER) speaks for; checks it, since one that came through a tunnel has not met TLS
  ///     here.
  ///   - checker: evaluates the roles that an identity has now; throws `IdentityRefusal` if it has become void.
  ///   - locks: the locks in force; `applyLocks` is to be called when they change.
  ///   - clientCertificates: what databases without AWS settings are shown.
  ///   - leases: the places of users whose roles bound the number of their sessions.
  public init(
    catalog: DatabaseCatalog, authenticator: RedshiftAuthenticator, audit: AuditLog,
    queries: QueryAuditor? = nil, serverID: String,
    identify: @escaping @Sendable ([UInt8]) throws -> UserIdentity,
    checker: @escaping @Sendable (UserIdentity) throws -> AccessChecker,
    locks: @escaping @Sendable () throws -> [Lock], clientCertificates: ClientCertificates,
    leases: SessionLeases
  ) {
    self.catalog = catalog
    self.authenticator = authenticator
    self.audit = audit
    self.identify = identify
    self.queries = queries
    self.serverID = serverID
    self.checker = checker
    self.locks = locks
    self.clientCertificates = clientCertificates
    self.leases = leases
  }

  /// Names of the databases served now, sorted.
  public var databaseNames: [String] { catalog.served.map(\.name) }

  /// Whether a database of that name is served here.
  public func serves(_ name: String) -> Bool { catalog.database(named: name) != nil }

  public func userName(certificate: [UInt8]) -> String? { try? identify(certificate).username }

  /// Characters of application_name that are recorded; PostgreSQL itself keeps 63 bytes.
  private static let maximumUserAgent = 256

  public func authorize(_ request: SessionRequest) async -> Result<SessionRoute, WireError> {
    await authorize(request, identity: nil)
  }

  /// As `authorize(_:)`.
  ///
  /// - Parameter identity: whom the certificate speaks for, if the caller has checked it by the same authorities.
  public func authorize(
    _ request: SessionRequest, identity: UserIdentity?
  ) async -> Result<SessionRoute, WireError> {
    var event = AuditEvent("db.session.start", code: "TDB00W")
    event.databaseUser = request.user
    event.databaseName = request.database
    event.clientAddress = request.clientAddress
    event.userAgent = request.applicationName.map { String($0.prefix(Self.maximumUserAgent)) }
    event.databaseProtocol = "postgres"
    event.extra = [("server_id", .text(serverID))]
    let sessionID = UUID().uuidString.lowercased()
    event.sessionID = sessionID
    do {
      return .success(.database(try await grant(request, identity, sessionID, &event)))
    } catch {
      let refusal = refusals.wireError(error, event)
      event.success = false
      event.error = refusal.state.rawValue
      event.message = refusal.auditText
      audit.emit(event)
      return .failure(refusal)
    }
  }

  private func grant(
    _ request: SessionRequest, _ known: UserIdentity?, _ sessionID: String, _ event: inout AuditEvent
  ) async throws -> SessionGrant {
    let identity: UserIdentity
    do {
      identity = try known ?? identify(request.certificate)
    } catch let error as PKIError {
      throw WireError(
        .invalidAuthorization, "the client certificate cannot be used: \(error)", hint: "Run 'tsh db login'.")
    }
    event.user = identity.username
    event.clusterName = identity.clusterName
    guard let route = identity.route else {
      throw WireError(
        .invalidAuthorization, "the client certificate is not for a database",
        hint: "Run 'tsh db login NAME' and use the certificate it stores.")
    }
    event.databaseService = route.service
    try Self.check(request, against: route)
    let lockable = LockableSession(
      id: sessionID, user: identity.username, roles: identity.roles, database: route.service, server: serverID,
      control: request.control)
    try refuseLocked(lockable)
    let checker = try self.checker(identity)
    // An unknown database and one that may not be seen answer alike: names cannot be probed.
    let unknown = WireError(
      .invalidAuthorization, "access to database '\(route.service)' denied",
      detail: "no role of yours allows this database",
      hint: "See 'tsh db ls' for those you can reach.")
    guard let database = catalog.database(named: route.service) else { throw unknown }
    event.databaseURI = database.uri
    event.databaseType = database.auditType
    event.extra += database.auditFields
    let access = DatabaseAccess(
      labels: database.labels, databaseName: request.database, databaseUsers: database.spellings(ofUser: request.user),
      wantsReplication: request.wantsReplication)
    switch checker.decide(access) {
    case .allowed: break
    case .replicationDenied(let reason, let mend): throw WireError(.featureNotSupported, reason, hint: mend)
    case .denied(let reason, let mend):
      guard checker.canSee(labels: database.labels) else { throw unknown }
      throw WireError(
        .invalidAuthorization, "access to database '\(route.service)' denied", detail: reason, hint: mend)
    }
    let isBounded = checker.maxConnections != nil
    if isBounded { try await leases.take(sessionID, of: identity.username, certificate: request.certificate) }
    do {
      return try await connect(
        request, identity, database, checker, event, lockable, isSpelledOut: checker.spellsOut(access))
    } catch {
      if isBounded { leases.release(sessionID) }
      throw error
    }
  }

  private func refuseLocked(_ session: LockableSession) throws {
    guard let lock = session.lock(among: try locks()) else { return }
    throw WireError(
      .invalidAuthorization, lock.notice, hint: "Ask the administrator; 'tctl get locks' shows the locks in force.")
  }

  /// The sessions that were granted and are not over.
  var lockableSessions: [LockableSession] { sessions.withLock { $0.values.map(\.lockable) } }

  /// A certificate that names its user or database opens that one only.
  private static func check(_ request: SessionRequest, against route: DatabaseRoute) throws {
    for (asked, pinned, field) in [
      (request.user, route.databaseUser, "user"), (request.database, route.databaseName, "database"),
    ] {
      guard let pinned, pinned != asked else { continue }
      throw WireError(
        .invalidAuthorization, "the certificate is for \(field) '\(pinned)', not '\(asked)'",
        hint: "Run 'tsh db login' with the \(field) you want.")
    }
  }

  private func connect(
    _ request: SessionRequest, _ identity: UserIdentity, _ database: ServedDatabase, _ checker: AccessChecker,
    _ event: AuditEvent, _ lockable: LockableSession, isSpelledOut: Bool
  ) async throws -> SessionGrant {
    let logins = DatabaseLogins(
      database: database, identity: identity, user: request.user, databaseName: request.database,
      isSpelledOut: isSpelledOut, authenticator: authenticator, clientCertificates: clientCertificates, keys: keys,
      names: names, refusals: refusals, event: event)
    let (login, poolIdentity) = try await logins.login(rejected: request.rejectedPassword)
    let sessionID = lockable.id
    let recording = queries?.begin(event)
    sessions.withLock { $0[sessionID] = GrantedSession(event: event, recording: recording, lockable: lockable) }
    let remaining = identity.notValidAfter.timeIntervalSinceNow
    return SessionGrant(
      sessionID: sessionID, login: login, database: request.database,
      idleTimeout: checker.clientIdleTimeout.map { UInt64($0) * 1000 },
      lifetime: checker.disconnectsExpiredCertificate ? UInt64(max(0, remaining) * 1000) : nil, recording: recording,
      pool: database.pool.map { settings in
        PoolPlan(settings: settings, database: database.name, identity: poolIdentity) { [refusals] rejected in
          do {
            return .success(try await logins.login(rejected: rejected?.password).login)
          } catch {
            return .failure(refusals.wireError(error, event))
          }
        }
      })
  }

  public func cancelRefused(_ sessionID: String?, certificate: [UInt8], clientAddress: String) {
    guard let sessionID, let session = sessions.withLock({ $0[sessionID] }) else { return }
    var event = session.event.followed(by: "db.session.cancel", code: "TDB03W")
    event.user = userName(certificate: certificate)
    event.clientAddress = clientAddress
    event.success = false
    event.message = "cancel request for a session of user '\(session.event.user ?? "")'"
    audit.emit(event)
  }

  public func sessionStarting(_ sessionID: String, _ answer: @escaping @Sendable (WireError?) -> Void) {
    guard let known = sessions.withLock({ $0[sessionID] }) else {
      return answer(WireError(.internalError, "the session is not known"))
    }
    // A lock that came while AWS and the database were asked may have been applied before the session was entered.
    do { try refuseLocked(known.lockable) } catch { return answer(refusals.wireError(error, known.event)) }
    let granted = sessions.withLock { sessions in
      sessions[sessionID]?.isStarted = true
      return sessions[sessionID]
    }
    guard let granted else { return answer(WireError(.internalError, "the session is not known")) }
    var event = granted.event.followed(by: "db.session.start", code: "TDB00I")
    event.success = true
    audit.emitDurably(event) { [self] failure in
      guard let failure else { return answer(nil) }
      logger.error("session refused", metadata: ["sid": "\(sessionID)", "error": "\(failure)"])
      sessions.withLock { $0[sessionID]?.isStarted = false }
      answer(
        WireError(
          .cannotConnectNow, "the audit log cannot be written, so no session may start",
          hint: "Tell the administrator: the Database Service's log says why."))
    }
  }

  public func sessionStarted(_ sessionID: String, failure: WireError?) {
    guard let failure else {
      return logger.info("session started", metadata: ["sid": "\(sessionID)"])
    }
    leases.release(sessionID)
    guard let session = sessions.withLock({ $0.removeValue(forKey: sessionID) }) else { return }
    refusals.note(failure, session.event)
    // The client left between the record of its start and its first byte.
    guard !session.isStarted else { return end(session, because: failure.message, summary: nil) }
    var event = session.event.followed(by: "db.session.start", code: "TDB00W")
    event.success = false
    event.error = failure.state.rawValue
    event.message = failure.auditText
    audit.emit(event)
    if let number = session.recording { queries?.forget(number) }
  }

  public func sessionEnded(_ summary: SessionSummary) {
    leases.release(summary.sessionID)
    guard let session = sessions.withLock({ $0.removeValue(forKey: summary.sessionID) }) else { return }
    end(session, because: summary.reason, summary: summary)
    logger.info("session ended", metadata: ["sid": "\(summary.sessionID)", "reason": "\(summary.reason)"])
  }

  private func end(_ session: GrantedSession, because reason: String, summary: SessionSummary?) {
    var event = session.event.followed(by: "db.session.end", code: "TDB01I")
    event.success = true
    event.message = reason
    event.bytesFromClient = summary?.bytesFromClient
    event.bytesFromServer = summary?.bytesFromServer
    event.extra += [("session_start", .text(session.event.time.formatted(.iso8601)))]
    audit.emit(event) { [queries, recording = session.recording] writer in
      if let recording { queries?.end(recording, writer) }
    }
  }
}
