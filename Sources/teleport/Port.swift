import AuthService
import ClusterMember
import ConfigurationFile
import DatabaseService
import Foundation
import Gateway
import Logging
import PKI
import Reactor
import Secrets
import Synchronization
import TLS
import TextForms
import TunnelWire

/// Builds what the public port offers, anew whenever certificates, authorities or the configuration change.
final class Port: Sendable {
  private let current: Mutex<TeleportConfiguration>
  private let side: any ClusterSide
  private let authorities = AuthorityCache()
  private let http: HTTPUpstream?
  /// On a proxy: the agents that dug tunnels to it.
  private let tunnels: TunnelRegistry?
  /// Where it is told what clients ask of the databases served here.
  private let recording: QueryRecording?

  init(
    _ configuration: TeleportConfiguration, side: any ClusterSide, http: HTTPUpstream?, tunnels: TunnelRegistry?,
    recording: QueryRecording?
  ) {
    current = Mutex(configuration)
    self.side = side
    self.http = http
    self.tunnels = tunnels
    self.recording = recording
  }

  /// Takes up another configuration, if it can be used.
  ///
  /// - Returns: the settings by it.
  func use(_ configuration: TeleportConfiguration) throws -> GatewaySettings {
    let settings = try settings(configuration)
    current.withLock { $0 = configuration }
    return settings
  }

  /// The configuration in use.
  var configuration: TeleportConfiguration { current.withLock { $0 } }

  /// The settings by the configuration in use, with the certificates of this moment.
  func settings() throws -> GatewaySettings { try settings(configuration) }

  private func settings(_ configuration: TeleportConfiguration) throws -> GatewaySettings {
    let certificates = try side.authorities
    let host = side.servingCredentials
    // For clients that know only one of the two host CAs of a rotation.
    let chain = ([host.certificatePEM] + certificates.hostBridgePEMs).joined()
    // Who may show a certificate depends on what is spoken: users to databases, users and hosts to the API, hosts in
    // the tunnel. A certificate of one CA is so never taken for one of the other.
    func context(web: (chainPEM: String, keyPEM: Secret)?) throws -> ServerTLSContext {
      try ServerTLSContext(
        certificateChainPEM: chain, privateKeyPEM: host.keyPEM, clientCAPEMs: certificates.userPEMs,
        applicationProtocols: protocols(configuration),
        choices: [
          .init(protocols: ["http/1.1"], certificate: web, clientCAPEMs: certificates.userPEMs + certificates.hostPEMs),
          .init(protocols: hostProtocols(configuration), clientCAPEMs: certificates.hostPEMs),
        ])
    }
    var settings = GatewaySettings(
      postgresTLS: try context(web: nil), directTLS: try context(web: try webCertificate(configuration)), http: http)
    settings.recording = recording
    settings.limits = AdmissionLimits(configuration)
    settings.allowsCancelInClear = configuration.allowsCancelInClear
    settings.tunnel = tunnels.map { registry in
      TunnelEntrance(registry: registry) { [side, authorities] certificate in
        guard let host = try? authorities.trusted(side.authorities).host(certificateDER: certificate),
          host.services.contains(.database), host.clusterName == side.clusterName,
          (try? side.locks.contains { $0.hits(host: host.hostID) }) == false
        else { return nil }
        return host.hostID
      }
    }
    return settings
  }

  /// What only hosts may speak: the tunnel with a proxy, callers' HTTP with an Auth Service.
  private func hostProtocols(_ configuration: TeleportConfiguration) -> [String] {
    (tunnels == nil ? [] : [TunnelMessage.controlProtocol, TunnelMessage.sessionProtocol])
      + (configuration.isAuthEnabled ? [TunnelMessage.callerProtocol] : [])
  }

  private func protocols(_ configuration: TeleportConfiguration) -> [String] {
    (configuration.isProxyEnabled ? ["postgresql", "teleport-postgres"] : []) + ["http/1.1"]
      + hostProtocols(configuration)
  }

  private func webCertificate(
    _ configuration: TeleportConfiguration
  ) throws -> (chainPEM: String, keyPEM: Secret)? {
    guard configuration.isProxyEnabled else { return nil }
    return try configuration.keyPair.map { pair in
      guard let data = FileManager.default.contents(atPath: pair.certificateFile),
        let chain = String(data: data, encoding: .utf8)
      else { throw ConfigurationError("https_keypairs: \(pair.certificateFile) cannot be read") }
      return (chain, try PrivateFile.read(pair.keyFile))
    }
  }
}

/// The TLS contexts with which this host dials others, kept up to date.
final class DialContexts: Sendable {
  struct Contexts: Sendable {
    let control: ClientTLSContext
    let session: ClientTLSContext
    let caller: ClientTLSContext
  }

  private let current: Mutex<Contexts>

  init(_ side: any ClusterSide) throws { current = Mutex(try Self.make(side)) }

  var now: Contexts { current.withLock { $0 } }

  /// Takes up new credentials and authorities, for connections from now on.
  func refresh(_ side: any ClusterSide) throws {
    let fresh = try Self.make(side)
    current.withLock { $0 = fresh }
  }

  private static func make(_ side: any ClusterSide) throws -> Contexts {
    let host = side.credentials
    let trusted = try side.authorities.hostPEMs.joined(separator: "\n")
    func context(_ name: String) throws -> ClientTLSContext {
      try ClientTLSContext(
        mode: .verifyFull, trustedCAPEM: trusted, clientCertificate: (host.certificatePEM, host.keyPEM),
        applicationProtocols: [name])
    }
    return Contexts(
      control: try context(TunnelMessage.controlProtocol), session: try context(TunnelMessage.sessionProtocol),
      caller: try context(TunnelMessage.callerProtocol))
  }
}

/// The addresses of the Auth Services, for a proxy that forwards callers to them: resolved away from the reactors.
final class AuthTargets: Sendable {
  private let servers: [String]
  private let targets = Mutex<[HTTPForwarding.Target]>([])
  private let logger = Logger(label: "proxy")

  private static let refreshInterval: Duration = .seconds(30)

  init(servers: [String]) { self.servers = servers }

  var now: [HTTPForwarding.Target] { targets.withLock { $0 } }

  /// Resolves again and again until cancelled.
  func run() async throws {
    while true {
      refresh()
      try await Task.sleep(for: Self.refreshInterval)
    }
  }

  /// Resolves now; what was known of a name stays if that fails.
  func refresh() {
    let known = now
    let found = servers.flatMap { server -> [HTTPForwarding.Target] in
      guard let target = HostPort(server) else { return [] }
      do {
        return try Resolver.addresses(host: target.host, port: target.port).map {
          .init(address: $0, serverName: target.host)
        }
      } catch {
        logger.warning("the Auth Service's name \(target.host) cannot be resolved: \(error)")
        return known.filter { $0.serverName == target.host }
      }
    }
    targets.withLock { $0 = found }
  }
}

extension AdmissionLimits {
  /// What the configuration says, and for the totals as much a reactor as its memory is good for.
  fileprivate init(_ configuration: TeleportConfiguration) {
    self.init()
    let wanted = configuration.connectionLimits
    connections = wanted.connections ?? connections
    totalConnections = wanted.totalConnections ?? 20_000 * configuration.reactors
    unauthenticated = wanted.unauthenticated ?? unauthenticated
    totalUnauthenticated = wanted.totalUnauthenticated ?? 5_000 * configuration.reactors
    unauthenticatedRate = wanted.unauthenticatedRate ?? unauthenticatedRate
    exempt = wanted.exempt
  }
}
