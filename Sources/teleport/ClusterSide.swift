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
  /// This host's certificate, as server and as client.
  var credentials: HostCredentials { get }
  /// HOST:PORT of all proxies of the cluster.
  var proxies: [String] { get throws }
  /// What the holder of a certificate may do now. Throws `IdentityRefusal` for one that counts no more.
  func checker(for identity: UserIdentity) throws -> AccessChecker
  /// The locks in force, as far as this host knows.
  var locks: [Lock] { get throws }
  /// The databases that were made with tctl, for those who match them.
  var databases: [DatabaseResource] { get throws }
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
  let credentials: HostCredentials
  private let services: [ServiceRole]
  private let heartbeat = Mutex<HostHeartbeat?>(nil)
  private let logger = Logger(label: "member")

  /// - Parameter hostID: stays the same over restarts, so that a host takes its own place again.
  init(_ auth: AuthServer, hostID: String, services: [ServiceRole], publicNames: [String]) throws {
    self.auth = auth
    self.services = services
    authorities = try auth.authorityCertificates
    let (certificate, key) = try auth.ownHostCertificate(hostID: hostID, names: publicNames)
    credentials = HostCredentials(
      certificatePEM: certificate, keyPEM: key, hostID: hostID, issued: Date(),
      notValidAfter: try notValidAfter(ofPEM: certificate))
  }

  var clusterName: String { auth.clusterName }
  let authorities: AuthorityCertificates
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

  func offer(_ heartbeat: HostHeartbeat) async throws {
    self.heartbeat.withLock { $0 = heartbeat }
    try auth.heartbeat(heartbeat, of: credentials.hostID, services: services)
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
            try self.auth.heartbeat(beat, of: self.credentials.hostID, services: self.services)
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
            if now != revision { await changed() }
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
