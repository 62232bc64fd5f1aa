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
import TextForms

/// What runs in one process beside the gateway, from start to end.
struct Services: Sendable {
  let configuration: TeleportConfiguration
  let side: any ClusterSide
  let auth: AuthServer?
  let api: APIServer?
  let diagnostics: DiagnosticsServer?
  let authTargets: AuthTargets?
  let contexts: DialContexts
  let port: Port
  /// On a host whose Auth Service is elsewhere: what brings the audit log there.
  let shipping: (member: Membership, outbox: AuditOutbox)?
  let catalog: DatabaseCatalog
  let discoveries: Discoveries

  /// Seconds for the audit records of the last moments, once all else has stopped.
  private static let shippingLimit = 3.0

  private let administrator: AdministratorIdentity
  private var logger: Logger { Logger(label: "teleport") }

  init(
    configuration: TeleportConfiguration, side: any ClusterSide, auth: AuthServer?, api: APIServer?,
    diagnostics: DiagnosticsServer?, authTargets: AuthTargets?, contexts: DialContexts, port: Port,
    catalog: DatabaseCatalog, discoveries: Discoveries, shipping: (member: Membership, outbox: AuditOutbox)?
  ) {
    self.configuration = configuration
    self.side = side
    self.auth = auth
    self.api = api
    self.diagnostics = diagnostics
    self.authTargets = authTargets
    self.contexts = contexts
    self.port = port
    self.catalog = catalog
    self.discoveries = discoveries
    self.shipping = shipping
    administrator = AdministratorIdentity(dataDirectory: configuration.dataDirectory)
  }

  private func kernelInterface() throws -> KernelInterface {
    guard configuration.reactorInterface != .epoll else { return .epoll }
    let (interface, obstacle) = KernelInterface.best()
    guard let obstacle else { return interface }
    guard configuration.reactorInterface == .auto else {
      throw Failure("io_uring cannot be used (\(obstacle)): say 'reactor: auto' or 'reactor: epoll' under teleport:")
    }
    logger.notice("io_uring cannot be used (\(obstacle)): the reactors work by epoll")
    return interface
  }

  /// Serves until `isOver` returns or a service fails.
  func serve(
    _ gateway: Gateway, on addresses: [SocketAddress], agentFor authorizer: DatabaseAuthorizer?,
    until isOver: @escaping @Sendable (RunningGateway) async -> Void
  ) async throws {
    let reactors = configuration.reactors
    authTargets?.refresh()
    try await withThrowingTaskGroup(of: Void.self) { group in
      if let diagnostics { group.addTask { try await diagnostics.run() } }
      if let api { try await start(api, in: &group) }
      if let authTargets { group.addTask { try await authTargets.run() } }
      if let shipping { group.addTask { try await shipping.member.ship(shipping.outbox) } }
      let interface = try kernelInterface()
      let running = try gateway.start(on: addresses, reactorCount: reactors, over: interface)
      try await connectAgent(authorizer, running)
      logger.info(
        "serving",
        metadata: [
          "cluster": "\(side.clusterName)", "services": "\(configuration.serviceNames.joined(separator: ","))",
          "listen": "\(addresses.map(\.description).joined(separator: ","))", "reactors": "\(reactors)",
          "reactor": "\(interface.rawValue)",
        ])
      group.addTask {
        try await side.run {
          do {
            // First, since whoever locks somebody out waits for it.
            try await authorizer?.applyLocks()
            try await shutOut(running)
          } catch {
            logger.error("locks could not be applied to running sessions: \(error)")
          }
          do {
            if let auth { try administrator.refresh(auth) }
            try contexts.refresh(side)
            running.use(try port.settings())
            try await connectAgent(authorizer, running)
            if catalog.use(try side.databases) { try await report(names: running) }
          } catch {
            logger.error("a change of the cluster could not be taken up: \(error)")
          }
        }
      }
      if let auth { group.addTask { try await auth.runRotations() } }
      if let authorizer { group.addTask { try await authorizer.leases.run() } }
      group.addTask {
        try await DynamicLabels(catalog: catalog).run {
          do {
            try await report()
          } catch {
            logger.error("the cluster has not heard yet that a label has changed: \(error)")
          }
        }
      }
      group.addTask {
        try await AliasWatch(catalog: catalog).run {
          do {
            try await report()
          } catch {
            logger.error("the cluster has not heard yet what a custom domain stands for: \(error)")
          }
        }
      }
      if let served = discoveries.served { group.addTask { try await serve(whatIsFoundBy: served, running) } }
      if let shared = discoveries.shared {
        let sharing = DiscoverySharing(side, group: configuration.discovery.group)
        group.addTask { try await sharing.run(shared) }
      }
      group.addTask { await isOver(running) }
      // The first to end is the signal, or a service that failed.
      do {
        try await group.next()
      } catch {
        running.stop()
        throw error
      }
      running.stop()
      await side.leave()
      group.cancelAll()
      logger.info("stopped")
    }
  }

  /// Ships the audit records that were written while the services stopped.
  func shipRest() async {
    if let shipping { await shipping.member.shipRest(shipping.outbox, within: Self.shippingLimit) }
  }

  /// Ends what locked hosts do here, or everything, if this host is one.
  private func shutOut(_ running: RunningGateway) async throws {
    if let exclusion = try side.exclusion {
      logger.error("the cluster has shut this host out: \(exclusion)")
      return running.endSessions(telling: exclusion)
    }
    for lock in try side.locks where !lock.isOver() {
      guard let host = lock.spec.target.serverID, lock.hits(host: host) else { continue }
      running.shutOut(agent: host, telling: "the Database Service of the session is \(lock.notice)")
    }
  }

  /// Starts the API and waits until it listens; if it ends before, the error is the process's.
  private func start(_ api: APIServer, in group: inout ThrowingTaskGroup<Void, any Error>) async throws {
    let (ready, signalReady) = AsyncStream<Bool>.makeStream()
    group.addTask {
      defer { signalReady.finish() }
      try await api.run { signalReady.yield(true) }
    }
    var isReady = false
    for await _ in ready {
      isReady = true
      break
    }
    guard isReady, let auth else {
      // It ended before it began.
      do {
        try await group.next()
      } catch {
        throw ConfigurationError("the API cannot start at \(configuration.socketPath): \(error)")
      }
      return
    }
    try administrator.write(auth)
    group.addTask {
      // The local administrator's certificate lives for a day.
      while true {
        try await Task.sleep(for: .seconds(12 * 3600))
        do {
          try administrator.write(auth)
        } catch {
          // Nobody's session depends on it.
          logger.error("the local administrator's certificate is not renewed: \(error)")
        }
      }
    }
  }

  /// Tells the cluster what this process offers.
  ///
  /// - Parameter running: for names that may have changed: the proxies that the agent here is connected to hear of them
  ///   from it, and first, since who sees a database in the cluster's list may connect to it.
  func report(names running: RunningGateway? = nil) async throws {
    running?.announceDatabases()
    // Two who report at once may be overtaken by each other: the later one sees to it that what is true stays.
    var beat: HostHeartbeat
    repeat {
      beat = heartbeat
      try await side.offer(beat)
    } while beat != heartbeat
  }

  private var heartbeat: HostHeartbeat {
    HostHeartbeat(
      proxyAddress: configuration.isProxyEnabled ? port.configuration.publicAddress : nil,
      databases: catalog.served.map { database in
        DatabaseRecord(
          name: database.name, description: database.description, protocol: "postgres", uri: database.uri,
          labels: database.labels, accountID: database.account, region: database.region,
          workgroup: database.workgroup, assumeRoleARN: database.assumeRoleARN, cluster: database.cluster,
          origin: database.origin.rawValue)
      })
  }

  /// Digs tunnels to all proxies but this process's own, whose sessions need none.
  private func connectAgent(_ authorizer: DatabaseAuthorizer?, _ running: RunningGateway) async throws {
    guard let authorizer else { return }
    var proxies = Set(try side.proxies)
    if auth == nil, proxies.isEmpty { proxies.formUnion(configuration.membership.servers) }
    if configuration.isProxyEnabled { proxies.remove(configuration.publicAddress) }
    running.connect(
      to: proxies.sorted().compactMap { proxy in
        guard let target = HostPort(proxy) else { return nil }
        return AgentSettings(
          proxy: proxy, serverName: target.host,
          contexts: { [contexts] in (contexts.now.control, contexts.now.session) },
          databases: { authorizer.databaseNames },
          resolve: { try Resolver.addresses(host: target.host, port: target.port) })
      })
  }
}

/// The name an Auth Service's host goes by within the cluster, the same over restarts.
enum HostUUID {
  static func load(in dataDirectory: String) throws -> String {
    let path = dataDirectory + "/host_uuid"
    if FileManager.default.fileExists(atPath: path) {
      let text = try PrivateFile.read(path).revealText()?.trimmingCharacters(in: .whitespacesAndNewlines) ?? ""
      guard UUID(uuidString: text) != nil else { throw ConfigurationError("\(path) holds no UUID; remove it") }
      return text
    }
    let fresh = UUID().uuidString.lowercased()
    try PrivateFile.write(fresh, to: path)
    return fresh
  }
}
