import AWS
import Audit
import AuthService
import ClusterMember
import ConfigurationFile
import ControlAPI
import DatabaseService
import Diagnostics
import Foundation
import Gateway
import Logging
import PKI
import Reactor
import Secrets
import StateStore
import TLS
import TextForms

/// The services of one process, put together: any of auth, proxy and db.
struct Cluster {
  private let configuration: TeleportConfiguration
  private let looking: Looking
  private let authorities = AuthorityCache()
  private let logger = Logger(label: "teleport")

  init(_ configuration: TeleportConfiguration) throws {
    guard !configuration.serviceNames.isEmpty else {
      throw ConfigurationError(
        "no service is enabled; enable auth_service, proxy_service, db_service or discovery_service")
    }
    self.configuration = configuration
    looking = try Looking(configuration)
    try checkLength(of: configuration.dataDirectory)
  }

  /// Serves until `lifecycle` says that it is time to end.
  ///
  /// - Parameter load: reads the configuration file again.
  func run(
    _ lifecycle: Lifecycle, metrics: MetricsRegistry, load: @escaping @Sendable () throws -> TeleportConfiguration
  ) async throws {
    ProcessLimits.apply()
    let directory = configuration.dataDirectory
    for folder in ["", "/log", "/run"] { try PrivateFile.makeDirectory(directory + folder) }
    try PrivateFile.checkContents(of: directory)
    let auditPath = directory + "/log/events.log"
    if configuration.isAuthEnabled { try AuditOutbox.forget(path: auditPath) }
    let audit = try AuditLog(path: auditPath, settings: auditSettings)
    let auth = try makeAuth(audit)
    let side: any ClusterSide = try await makeSide(auth)
    let catalog = DatabaseCatalog(try .init(configuration))
    let discoveries = Discoveries(looking)
    _ = catalog.use(try side.databases)
    let queries = queryAuditor(audit)
    let authorizer = databaseAuthorizer(catalog, side, audit, queries)

    let tunnels = configuration.isProxyEnabled ? TunnelRegistry() : nil
    let contexts = try DialContexts(side)
    let peers = PeerRegistry()
    let authTargets = auth == nil ? AuthTargets(servers: configuration.membership.servers) : nil
    let http: HTTPUpstream? =
      if auth != nil {
        .server(httpSocket(peers))
      } else if let authTargets {
        .forward(HTTPForwarding(targets: { authTargets.now }, context: { contexts.now.caller }))
      } else {
        nil
      }
    let port = Port(
      configuration, side: side, http: http, tunnels: tunnels,
      recording: queries?.recording)
    let gateway = Gateway(settings: try port.settings(), authorizer: sessionAuthorizer(authorizer, side, tunnels))
    let services = Services(
      configuration: configuration, side: side, auth: auth,
      api: auth.map { auth in
        APIServer(
          auth: auth, peers: peers, knowledge: .ofDatabaseService, socketPath: configuration.socketPath)
      }, diagnostics: try diagnostics(lifecycle, metrics), authTargets: authTargets, contexts: contexts, port: port,
      catalog: catalog, discoveries: discoveries,
      shipping: try (side as? Membership).map { (member: $0, outbox: try AuditOutbox(path: audit.path)) })
    try await services.report()
    try await services.serve(gateway, on: try listenAddresses(), agentFor: authorizer) { running in
      await lifecycle.supervise(running, configuration) { current in
        let (next, needsRestart) = current.reloaded(with: try load())
        let looking = try Cluster(next).looking
        let databases = try DatabaseCatalog.Configured(next)
        running.use(try port.use(next))
        catalog.use(databases)
        Task {
          await discoveries.use(looking)
          do {
            try await services.report(names: running)
          } catch {
            logger.error("the cluster has not heard of the new databases yet: \(error)")
          }
        }
        for key in needsRestart { logger.warning("\(key) has changed and needs a restart") }
        return next
      }
    }
    audit.flush()
    await services.shipRest()
  }

  // MARK: Parts

  private func makeAuth(_ audit: AuditLog) throws -> AuthServer? {
    guard configuration.isAuthEnabled else { return nil }
    try PrivateFile.makeDirectory(configuration.dataDirectory + "/admin")
    let publicAddress = configuration.publicAddress
    let auth = try AuthServer(
      dataDirectory: configuration.dataDirectory, storage: try stateStorage(),
      clusterName: configuration.clusterName ?? HostPort(publicAddress)?.host ?? "localhost",
      publicAddress: publicAddress, audit: audit,
      staticTokens: configuration.membership.staticTokens.map { ($0.token, $0.services) },
      hostCertificateLifetime: Double(configuration.membership.hostCertificateTTL?.seconds ?? 7 * 86_400),
      hostLogBounds: hostLogBounds, exemptSources: configuration.connectionLimits.exempt)
    try auth.configureSecondFactor(configuration.secondFactor)
    for service in configuration.serviceNames where ["db", "discovery"].contains(service) {
      guard configuration.joinMethod == .token else {
        throw ConfigurationError(
          "join_params.method iam is for hosts that join an Auth Service elsewhere; write token, with a token of 'tctl "
            + "tokens add --type=\(service)'")
      }
      try auth.join(service: service, token: try configuration.tokenName.map(MembershipConfiguration.token))
    }
    return auth
  }

  private func stateStorage() throws -> StateStorage {
    switch configuration.storage {
    case .sqlite: .sqlite
    case .postgresql(let text): .postgresql(try ConnectionSettings(text))
    }
  }

  private func makeSide(_ auth: AuthServer?) async throws -> any ClusterSide {
    let services = configuration.serviceNames.compactMap(ServiceRole.init(rawValue:))
    if let auth {
      return try LocalSide(
        auth, hostID: try HostUUID.load(in: configuration.dataDirectory), services: services,
        publicNames: configuration.hostNames)
    }
    guard !configuration.membership.servers.isEmpty else {
      throw ConfigurationError(
        "proxy_server (or auth_server) is needed to find the cluster, since auth_service is not enabled here")
    }
    let tokenName = configuration.tokenName
    var options = Membership.Options(
      dataDirectory: configuration.dataDirectory, servers: configuration.membership.servers, services: services,
      hostName: configuration.nodename, publicNames: configuration.hostNames,
      token: {
        guard let tokenName else {
          throw ConfigurationError("join_params.token_name is needed for the first start of a host")
        }
        return Secret(utf8: try MembershipConfiguration.token(tokenName))
      }, caPins: configuration.membership.caPins)
    if configuration.joinMethod == .iam { options.proveIdentity = Self.proveIdentity }
    return try await Membership(options)
  }

  @Sendable private static func proveIdentity(_ challenge: String) async throws -> IAMProof {
    let proof = try await CallerIdentityProof.make(challenge: challenge, in: AWSEnvironment())
    return IAMProof(
      region: proof.region, date: proof.date, authorization: proof.authorization,
      securityToken: proof.securityToken?.revealText())
  }

  private func databaseAuthorizer(
    _ catalog: DatabaseCatalog, _ side: any ClusterSide, _ audit: AuditLog, _ queries: QueryAuditor?
  ) -> DatabaseAuthorizer? {
    guard configuration.isDatabaseEnabled else { return nil }
    return DatabaseAuthorizer(
      catalog: catalog, authenticator: RedshiftAuthenticator(environment: AWSEnvironment()),
      audit: audit, queries: queries, serverID: side.credentials.hostID,
      identify: identify(side), checker: { try side.checker(for: $0) }, locks: { try side.locks },
      clientCertificates: ClientCertificates(
        authorities: { try side.authorities }, sign: { try await side.signDatabaseClient($0) }),
      leases: SessionLeases(acquire: { try await side.lease($0) }, renew: { try await side.renewLeases($0) }))
  }

  /// Whom a user's certificate speaks for, by the authorities of the moment.
  private func identify(_ side: any ClusterSide) -> @Sendable ([UInt8]) throws -> UserIdentity {
    { [authorities] in try authorities.trusted(side.authorities).user(certificateDER: $0) }
  }

  private func sessionAuthorizer(
    _ local: DatabaseAuthorizer?, _ side: any ClusterSide, _ tunnels: TunnelRegistry?
  ) -> any SessionAuthorizer {
    if let tunnels {
      return ProxyAuthorizer(
        local: local, tunnels: tunnels, identify: identify(side), exclusion: { try side.exclusion })
    }
    return local ?? NoDatabases()
  }

  /// Socket names have room for 107 bytes (unix(7)); beyond, the API could not be reached.
  private func checkLength(of directory: String) throws {
    let longest = HTTPServerSocket.longestClientPath(in: directory + "/run").utf8.count
    let excess = longest - SocketAddress.maximumUnixPath
    guard excess > 0 else { return }
    throw ConfigurationError(
      "data_dir \(directory) is too long for the names of its sockets; choose one of at most "
        + "\(directory.utf8.count - excess) bytes")
  }

  private var auditSettings: AuditLogSettings {
    var settings = AuditLogSettings()
    settings.maximumSize = configuration.auditLog.maximumSize
    settings.maximumFiles = configuration.auditLog.maximumFiles
    return settings
  }

  private var hostLogBounds: HostLogBounds {
    var bounds = HostLogBounds()
    bounds.each = configuration.auditLog.maximumHostSize
    bounds.all = configuration.auditLog.maximumHostsSize
    return bounds
  }

  /// What records statements, unless the configuration turns that off.
  private func queryAuditor(_ audit: AuditLog) -> QueryAuditor? {
    let wanted = configuration.queryAudit
    guard configuration.isDatabaseEnabled, let level = QueryAuditLevel(rawValue: wanted.queries), level != .off else {
      return nil
    }
    var settings = QueryRecording.Settings()
    settings.maximumQuery = wanted.maximumQuery
    settings.includesParameters = wanted.includesParameters
    settings.isStrict = wanted.isStrict
    settings.ringSize = wanted.queueSize
    return QueryAuditor(level: level, settings: settings, reactorCount: configuration.reactors, log: audit)
  }

  private func httpSocket(_ peers: PeerRegistry) -> HTTPServerSocket {
    HTTPServerSocket(
      socketPath: configuration.socketPath, clientDirectory: configuration.dataDirectory + "/run",
      register: { path, caller in
        peers.register(
          path: path,
          Peer(certificate: caller.certificate, remoteAddress: caller.address, voucher: caller.voucher))
      }, remove: { peers.remove(path: $0) })
  }

  private func diagnostics(_ lifecycle: Lifecycle, _ metrics: MetricsRegistry) throws -> DiagnosticsServer? {
    try configuration.diagAddress.map { text in
      guard let target = HostPort(text) else {
        throw ConfigurationError("diag_addr '\(text)' is not HOST:PORT")
      }
      return DiagnosticsServer(
        host: target.host, port: target.port, health: lifecycle.health, registry: metrics, version: sallyportVersion)
    }
  }

  private func listenAddresses() throws -> [SocketAddress] {
    var texts: [String?] = []
    if configuration.isProxyEnabled { texts += [configuration.webListenAddress, configuration.postgresListenAddress] }
    if configuration.isAuthEnabled {
      let fallback = configuration.isProxyEnabled ? nil : "0.0.0.0:\(MembershipConfiguration.defaultAuthPort)"
      texts.append(configuration.membership.authListenAddress ?? fallback)
    }
    return try texts.compactMap { $0 }.map { text in
      guard let target = HostPort(text), let address = SocketAddress(ip: target.host, port: target.port)
      else {
        throw ConfigurationError("'\(text)' is not an IP address and port to listen on, such as 0.0.0.0:3080")
      }
      return address
    }
  }
}
