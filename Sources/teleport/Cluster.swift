import AWS
import Audit
import AuthService
import ConfigurationFile
import DatabaseService
import Foundation
import Gateway
import Logging
import PKI
import Reactor
import Secrets
import TLS

/// All services of one process, put together.
struct Cluster {
  private let configuration: TeleportConfiguration
  private let logger = Logger(label: "teleport")

  init(_ configuration: TeleportConfiguration) throws {
    guard configuration.isAuthEnabled, configuration.isProxyEnabled else {
      throw ConfigurationError(
        "this version runs auth, proxy and database service in one process only; set enabled: yes for auth_service and proxy_service"
      )
    }
    self.configuration = configuration
  }

  /// Serves until SIGTERM or SIGINT.
  func run() async throws {
    // A closed peer is an errno, not the end of the process; core files would hold keys.
    signal(SIGPIPE, SIG_IGN)
    var noCore = rlimit(rlim_cur: 0, rlim_max: 0)
    setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &noCore)
    raiseDescriptorLimit()

    let directory = configuration.dataDirectory
    for folder in ["", "/log", "/run", "/admin"] { try PrivateFile.makeDirectory(directory + folder) }
    let audit = try AuditLog(path: directory + "/log/events.log")
    let publicAddress = configuration.publicAddresses.first ?? defaultPublicAddress()
    let clusterName = configuration.clusterName ?? String(publicAddress.split(separator: ":").first ?? "localhost")
    let auth = try AuthServer(
      dataDirectory: directory, clusterName: clusterName, publicAddress: publicAddress, audit: audit)
    try auth.configureSecondFactor(configuration.secondFactor)
    if configuration.isDatabaseEnabled { try auth.join(service: "db", token: try joinToken()) }
    let databases = configuration.isDatabaseEnabled ? try configuration.databases.map(ServedDatabase.init) : []

    let peers = PeerRegistry()
    let gateway = Gateway(
      settings: try settings(auth, peers),
      authorizer: DatabaseAuthorizer(
        databases: databases, authenticator: RedshiftServerlessAuthenticator(environment: AWSEnvironment()),
        audit: audit,
        checker: { try auth.checker(for: $0) }))
    let api = APIServer(
      auth: auth, peers: peers,
      databases: databases.map { database in
        RegisteredDatabase(
          name: database.name, description: database.description, uri: database.uri, labels: database.labels,
          userSpellings: { database.spellings(ofUser: $0) })
      }, socketPath: socketPath)
    try await serve(gateway, api, auth)
    audit.flush()
  }

  private var socketPath: String { configuration.dataDirectory + "/run/api.sock" }

  private func serve(_ gateway: Gateway, _ api: APIServer, _ auth: AuthServer) async throws {
    let addresses = try [configuration.webListenAddress, configuration.postgresListenAddress].compactMap { $0 }.map(
      listenAddress)
    let reactors = configuration.reactorCount ?? ProcessInfo.processInfo.activeProcessorCount
    let (ready, signalReady) = AsyncStream<Void>.makeStream()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        try await api.run { signalReady.finish() }
        signalReady.finish()
      }
      for await _ in ready {}
      try writeAdministratorIdentity(auth)
      let running = try gateway.start(on: addresses, reactorCount: reactors)
      logger.info(
        "cluster is up",
        metadata: [
          "cluster": "\(auth.clusterName)", "listen": "\(configuration.webListenAddress)", "reactors": "\(reactors)",
        ])
      group.addTask {
        // The local administrator's certificate lives for a day.
        while true {
          try await Task.sleep(for: .seconds(12 * 3600))
          try writeAdministratorIdentity(auth)
        }
      }
      group.addTask { await Self.untilTold() }
      // The first to end is the signal, or a service that failed.
      do {
        try await group.next()
      } catch {
        running.stop()
        throw error
      }
      running.stop()
      group.cancelAll()
      logger.info("stopped")
    }
  }

  /// Ends with the first SIGTERM or SIGINT.
  private static func untilTold() async {
    let (signals, continuation) = AsyncStream<Void>.makeStream()
    let sources = [SIGTERM, SIGINT].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { continuation.finish() }
      source.resume()
      return source
    }
    for await _ in signals {}
    for source in sources { source.cancel() }
  }

  private func settings(_ auth: AuthServer, _ peers: PeerRegistry) throws -> GatewaySettings {
    let names = hostNames()
    let host = try auth.hostCertificate(names: names)
    let clientCA = [try auth.userCAPEM]
    func context(web: (String, Secret)?) throws -> ServerTLSContext {
      try ServerTLSContext(
        certificateChainPEM: host.chainPEM, privateKeyPEM: host.keyPEM, clientCAPEMs: clientCA,
        applicationProtocols: ["postgresql", "teleport-postgres", "http/1.1"], webCertificate: web)
    }
    let web = try configuration.keyPair.map { pair in
      guard let data = FileManager.default.contents(atPath: pair.certificateFile),
        let chain = String(data: data, encoding: .utf8)
      else { throw ConfigurationError("https_keypairs: \(pair.certificateFile) cannot be read") }
      return (chain, try PrivateFile.read(pair.keyFile))
    }
    var settings = GatewaySettings(
      postgresTLS: try context(web: nil), directTLS: try context(web: web),
      http: HTTPUpstream(
        socketPath: socketPath, clientDirectory: configuration.dataDirectory + "/run",
        register: { peers.register(path: $0, certificate: $1, remoteAddress: $2) }, remove: { peers.remove(path: $0) }))
    settings.allowsCancelInClear = configuration.allowsCancelInClear
    return settings
  }

  /// Names that clients may dial this host by.
  private func hostNames() -> [String] {
    var names = configuration.publicAddresses.compactMap { $0.split(separator: ":").first.map(String.init) }
    names += [configuration.nodename, "localhost", "127.0.0.1", "::1"]
    var seen = Set<String>()
    return names.filter { !$0.isEmpty && seen.insert($0).inserted }
  }

  private func defaultPublicAddress() -> String {
    "localhost:\(configuration.webListenAddress.split(separator: ":").last ?? "3080")"
  }

  private func listenAddress(_ text: String) throws -> SocketAddress {
    guard let (host, port) = DatabaseConfiguration.split(text), let address = SocketAddress(ip: host, port: port) else {
      throw ConfigurationError("'\(text)' is not an IP address and port to listen on, such as 0.0.0.0:3080")
    }
    return address
  }

  private func joinToken() throws -> String? {
    guard let name = configuration.tokenName else { return nil }
    guard name.hasPrefix("/") else { return name }
    guard let data = FileManager.default.contents(atPath: name), data.count <= 4096 else {
      // A host that has joined before needs no token any more: the file may be gone.
      return nil
    }
    return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// What lets `tctl` on this host act with full rights.
  private func writeAdministratorIdentity(_ auth: AuthServer) throws {
    let folder = configuration.dataDirectory + "/admin"
    let identity = try auth.localAdministratorIdentity()
    try PrivateFile.write(identity.keyPEM, to: folder + "/admin.key")
    try PrivateFile.write(identity.certificatePEM, to: folder + "/admin.crt")
    try PrivateFile.write(try auth.hostCAPEM, to: folder + "/ca.pem")
  }

  private func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}
