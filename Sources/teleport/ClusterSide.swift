import AccessControl
import AuthService
import ClusterMember
import ControlAPI
import Foundation
import Logging
import PKI
import Synchronization

/// What the services of a process need of the cluster, whether its Auth Service runs in the same process or elsewhere.
protocol ClusterSide: Sendable {
  var clusterName: String { get }
  /// The CA certificates in force.
  var authorities: AuthorityCertificates { get throws }
  /// This host's certificate for dialling others.
  var credentials: HostCredentials { get }
  /// And for being dialled: the same, except while a rotation updates clients only.
  var servingCredentials: HostCredentials { get }
  /// Why the cluster has shut this host out; `nil`: it has not.
  var exclusion: String? { get throws }
  /// A certificate of the db_client CA.
  func signDatabaseClient(_ request: DatabaseClientCertificateRequest) async throws -> SignedCertificate
  /// Asks for a place among the sessions that a user may have at once.
  func lease(_ request: SessionLeaseRequest) async throws -> SessionLeaseAnswer
  /// Keeps such places and gives others back.
  func renewLeases(_ renewal: SessionLeaseRenewal) async throws
  /// HOST:PORT of all proxies of the cluster.
  var proxies: [String] { get throws }
  /// What the holder of a certificate may do now. Throws `IdentityRefusal` for one that counts no more.
  func checker(for identity: UserIdentity) throws -> AccessChecker
  /// The locks in force, as far as this host knows.
  var locks: [Lock] { get throws }
  /// The databases that were made with tctl, for those who match them.
  var databases: [DatabaseResource] { get throws }
  /// Tells the cluster what a discovery group has found.
  func share(_ found: DiscoveredDatabases) async throws -> DiscoveryAnswer
  /// Reports what this process serves, now and from now on.
  func offer(_ heartbeat: HostHeartbeat) async throws
  /// Strikes it out.
  func leave() async
  /// Works until cancelled; `changed` is called when authorities, proxies, locks, databases or credentials have changed.
  func run(_ changed: @escaping @Sendable () async -> Void) async throws
}

/// The Auth Service is in this process.
final class LocalSide: ClusterSide {
  let auth: AuthServer
  private let services: [ServiceRole]
  private let publicNames: [String]
  private let member: Mutex<(identities: HostIdentities, authorities: AuthorityCertificates)>
  private let heartbeat = Mutex<HostHeartbeat?>(nil)
  private let logger = Logger(label: "member")

  /// - Parameter hostID: stays the same over restarts, so that a host takes its own place again.
  init(_ auth: AuthServer, hostID: String, services: [ServiceRole], publicNames: [String]) throws {
    self.auth = auth
    self.services = services
    self.publicNames = publicNames
    let (certificate, key) = try auth.ownHostCertificate(hostID: hostID, names: publicNames)
    member = Mutex((HostIdentities(HostCredentials(certificate, keyPEM: key)), certificate.authorities))
  }

  /// Takes up the authorities of now, with a certificate of the CA that issues; or of a new life, at half of the old one.
  ///
  /// - Returns: whether anything is new.
  private func refresh() throws -> Bool {
    let now = try auth.authorityCertificates
    let (identities, before) = member.withLock { $0 }
    let needsCertificate = identities.isOutdated(by: now) || identities.renewalTime <= Date()
    guard needsCertificate || now != before else { return false }
    let fresh =
      needsCertificate ? try auth.ownHostCertificate(hostID: identities.current.hostID, names: publicNames) : nil
    member.withLock { member in
      member.authorities = fresh?.certificate.authorities ?? now
      if let fresh {
        member.identities.replace(
          with: HostCredentials(fresh.certificate, keyPEM: fresh.keyPEM), member.authorities)
      }
      member.identities.settle(member.authorities)
    }
    return true
  }

  var credentials: HostCredentials { member.withLock { $0.identities.current } }
  var servingCredentials: HostCredentials { member.withLock { $0.identities.serving } }

  var clusterName: String { auth.clusterName }
  var authorities: AuthorityCertificates { member.withLock { $0.authorities } }
  var exclusion: String? {
    get throws { try locks.first { $0.hits(host: credentials.hostID) }.map { "this host is \($0.notice)" } }
  }
  var proxies: [String] { get throws { try auth.proxies() } }
  var locks: [Lock] { get throws { try auth.locks() } }
  var databases: [DatabaseResource] { get throws { try auth.servableDatabases() } }

  /// Of the Auth Service's errors, those that are meant for the caller go on to the client; others stay in the log.
  func checker(for identity: UserIdentity) throws -> AccessChecker {
    do {
      return try auth.checker(for: identity)
    } catch let error as AuthError where error.isForCaller {
      throw IdentityRefusal(error.description)
    }
  }

  func signDatabaseClient(_ request: DatabaseClientCertificateRequest) async throws -> SignedCertificate {
    try auth.signDatabaseClient(request, by: credentials.hostID)
  }

  func lease(_ request: SessionLeaseRequest) async throws -> SessionLeaseAnswer {
    try auth.lease(request, by: credentials.hostID)
  }

  func renewLeases(_ renewal: SessionLeaseRenewal) async throws {
    try auth.renewLeases(renewal, by: credentials.hostID)
  }

  func share(_ found: DiscoveredDatabases) async throws -> DiscoveryAnswer {
    try auth.takeUp(found, by: credentials.hostID, check: DatabaseKnowledge.ofDatabaseService.check)
  }

  func offer(_ heartbeat: HostHeartbeat) async throws {
    self.heartbeat.withLock { $0 = heartbeat }
    try report(heartbeat)
  }

  private func report(_ heartbeat: HostHeartbeat) throws {
    let credentials = credentials
    // The cluster's own host may be locked like any other: it serves nothing then.
    guard try exclusion == nil else { return }
    var beat = heartbeat
    beat.version = sallyportVersion
    var host = HostIdentity(
      hostID: credentials.hostID, name: auth.clusterName, services: services, clusterName: auth.clusterName)
    host.notValidAfter = credentials.notValidAfter
    try auth.heartbeat(beat, of: host)
  }

  func leave() async {
    do {
      try auth.farewell(of: credentials.hostID)
    } catch {
      // Without it the entries run out by themselves.
      logger.info("could not take leave of the cluster: \(error)")
    }
  }

  func run(_ changed: @escaping @Sendable () async -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        while true {
          try await Task.sleep(for: .seconds(HostHeartbeat.interval))
          guard let beat = self.heartbeat.withLock({ $0 }) else { continue }
          do {
            try self.report(beat)
          } catch {
            // Sessions do not depend on it, and a full disk may have room again next time.
            self.logger.error("the cluster's state cannot be written: \(error)")
          }
        }
      }
      group.addTask {
        var revision: Int64 = 0
        while true {
          do {
            let now = try self.auth.revision
            let isRefreshed = try self.refresh()
            if now != revision || isRefreshed { await changed() }
            revision = now
          } catch {
            self.logger.error("the cluster's state cannot be read: \(error)")
          }
          // A change between looking and waiting is missed for as long as this, and
          // running sessions that a lock ends wait for it.
          try await self.auth.waitForChange(seconds: 0.5)
        }
      }
      try await group.waitForAll()
    }
  }
}

extension Membership: ClusterSide {
  var proxies: [String] { snapshot.proxies }
  var locks: [Lock] { snapshot.locks }
  var databases: [DatabaseResource] { snapshot.databases ?? [] }

  func checker(for identity: UserIdentity) throws -> AccessChecker { try snapshot.checker(for: identity) }

  func offer(_ heartbeat: HostHeartbeat) async throws { await report(heartbeat) }
}
