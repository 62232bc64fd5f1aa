import AuthService
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

  private var logger: Logger { Logger(label: "teleport") }

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
          } catch {
            logger.error("locks could not be applied to running sessions: \(error)")
          }
          do {
            try contexts.refresh(side)
            running.use(try port.settings())
            try await connectAgent(authorizer, running)
          } catch {
            logger.error("a change of the cluster could not be taken up: \(error)")
          }
        }
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
    try AdministratorIdentity.write(auth, in: configuration.dataDirectory)
    group.addTask {
      // The local administrator's certificate lives for a day.
      while true {
        try await Task.sleep(for: .seconds(12 * 3600))
        do {
          try AdministratorIdentity.write(auth, in: configuration.dataDirectory)
        } catch {
          // Nobody's session depends on it.
          logger.error("the local administrator's certificate is not renewed: \(error)")
        }
      }
    }
  }

  /// Digs tunnels to all proxies but this process's own, whose sessions need none.
  private func connectAgent(_ authorizer: DatabaseAuthorizer?, _ running: RunningGateway) async throws {
    guard let authorizer else { return }
    var proxies = Set(try side.proxies)
    if auth == nil, let server = configuration.membership.server, proxies.isEmpty { proxies.insert(server) }
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

/// What lets `tctl` on the Auth Service's host act with full rights.
enum AdministratorIdentity {
  static func write(_ auth: AuthServer, in dataDirectory: String) throws {
    let folder = dataDirectory + "/admin"
    let identity = try auth.localAdministratorIdentity()
    try PrivateFile.write(identity.keyPEM, to: folder + "/admin.key")
    try PrivateFile.write(identity.certificatePEM, to: folder + "/admin.crt")
    try PrivateFile.write(try auth.hostCAPEM, to: folder + "/ca.pem")
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
