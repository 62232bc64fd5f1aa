import AWS
import AccessControl
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
import TextForms

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
    // Sockets have no mode argument: what is made by their name is private like all else.
    umask(0o077)

    let directory = configuration.dataDirectory
    try checkLength(of: directory)
    for folder in ["", "/log", "/run", "/admin"] { try PrivateFile.makeDirectory(directory + folder) }
    let audit = try AuditLog(path: directory + "/log/events.log")
    let publicAddress = try publicAddresses().first ?? defaultPublicAddress()
    let auth = try AuthServer(
      dataDirectory: directory, clusterName: configuration.clusterName ?? publicAddress.host,
      publicAddress: publicAddress.description, audit: audit)
    if configuration.isDatabaseEnabled { try auth.join(service: "db", token: try joinToken()) }
    let databases = configuration.isDatabaseEnabled ? try configuration.databases.map(ServedDatabase.init) : []

    let peers = PeerRegistry()
    let gateway = Gateway(
      settings: try settings(auth, peers),
      authorizer: DatabaseAuthorizer(
        databases: databases, authenticator: RedshiftServerlessAuthenticator(environment: AWSEnvironment()),
        audit: audit,
        checker: { try Self.checker(for: $0, auth) }))
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

  /// Of the Auth Service's errors, those that are meant for the caller go on to the client; others stay in the log.
  private static func checker(for identity: UserIdentity, _ auth: AuthServer) throws -> AccessChecker {
    do {
      return try auth.checker(for: identity)
    } catch let error as AuthError where error.isForCaller {
      throw IdentityRefusal(error.description)
    }
  }

  /// Socket names have room for 107 bytes (unix(7)); beyond, the API could not be reached.
  private func checkLength(of directory: String) throws {
    let longest = HTTPUpstream.longestClientPath(in: directory + "/run").utf8.count
    let excess = longest - SocketAddress.maximumUnixPath
    guard excess > 0 else { return }
    throw ConfigurationError(
      "data_dir \(directory) is too long for the names of its sockets; choose one of at most "
        + "\(directory.utf8.count - excess) bytes")
  }

  private var socketPath: String { configuration.dataDirectory + "/run/api.sock" }

  private func serve(_ gateway: Gateway, _ api: APIServer, _ auth: AuthServer) async throws {
    let addresses = try [configuration.webListenAddress, configuration.postgresListenAddress].compactMap { $0 }.map(
      listenAddress)
    let reactors = configuration.reactorCount ?? ProcessInfo.processInfo.activeProcessorCount
    let (ready, signalReady) = AsyncStream<Void>.makeStream()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        defer { signalReady.finish() }
        try await api.run { signalReady.yield() }
      }
      guard await ready.first(where: { true }) != nil else {
        // It ended before it began.
        do {
          try await group.next()
        } catch {
          throw ConfigurationError("the API cannot start at \(socketPath): \(error)")
        }
        return
      }
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
    let names = try hostNames()
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
  private func hostNames() throws -> [String] {
    var names = try publicAddresses().map(\.host)
    names += [configuration.webListenAddress, configuration.postgresListenAddress].compactMap { $0 }
      .compactMap { HostPort($0)?.host }.filter { !["0.0.0.0", "::"].contains($0) }
    names += [configuration.nodename, "localhost", "127.0.0.1", "::1"]
    var seen = Set<String>()
    return names.filter { !$0.isEmpty && seen.insert($0).inserted }
  }

  /// Addresses that clients dial; one without a port means the port that is listened on.
  private func publicAddresses() throws -> [HostPort] {
    let port = HostPort(configuration.webListenAddress)?.port
    return try configuration.publicAddresses.map { text in
      guard let address = HostPort(text, defaultPort: port) else {
        throw ConfigurationError("public_addr '\(text)' is not HOST:PORT or [IPv6]:PORT")
      }
      return address
    }
  }

  private func defaultPublicAddress() throws -> HostPort {
    guard let listening = HostPort(configuration.webListenAddress),
      let address = HostPort("localhost", defaultPort: listening.port)
    else { throw notListenable(configuration.webListenAddress) }
    return address
  }

  private func listenAddress(_ text: String) throws -> SocketAddress {
    guard let address = HostPort(text), let address = SocketAddress(ip: address.host, port: address.port) else {
      throw notListenable(text)
    }
    return address
  }

  private func notListenable(_ text: String) -> ConfigurationError {
    ConfigurationError("'\(text)' is not an IP address and port to listen on, such as 0.0.0.0:3080 or [::]:3080")
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
