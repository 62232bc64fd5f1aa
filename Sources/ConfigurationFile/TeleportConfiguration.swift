import AccessControl
import Foundation
import TextForms

/// teleport.yaml, as far as this program uses it.
public struct TeleportConfiguration: Sendable {
  /// Name of this host, in its certificate.
  public var nodename = "localhost"
  /// Where the Auth Service keeps the cluster's state.
  public var storage = StorageConfiguration.sqlite
  /// Absolute path of the state.
  public var dataDirectory = "/var/lib/teleport"
  /// The program's own log.
  public var log = LogConfiguration()
  /// A join token, or the path of a file that holds it.
  public var tokenName: String?
  /// What proves that this host may join.
  public var joinMethod = JoinMethod.token
  /// Whether this process is to run the Auth Service.
  public var isAuthEnabled = true
  /// Likewise the Proxy Service.
  public var isProxyEnabled = true
  /// Likewise the Database Service.
  public var isDatabaseEnabled = false
  /// The cluster's name; `nil`: host of the first public address.
  public var clusterName: String?
  /// `auth_service.authentication.second_factor`; `nil` leaves it to the cluster_auth_preference resource.
  public var secondFactor: SecondFactorMode?
  /// IP address and port of the public port.
  public var webListenAddress = "0.0.0.0:3080"
  /// IP address and port of a second one.
  public var postgresListenAddress: String?
  /// HOST:PORT that clients dial.
  public var publicAddresses: [String] = []
  /// Certificate and key for HTTPS, besides the cluster's own.
  public var keyPair: (certificateFile: String, keyFile: String)?
  /// Whether cancel requests may come without TLS.
  public var allowsCancelInClear = true
  /// HOST:PORT of health checks and metrics; `nil`: off.
  public var diagAddress: String?
  public var pidFile: String?
  /// How long running sessions may go on after SIGTERM.
  public var shutdownTimeout = GoDuration(seconds: 30)
  /// `nil`: one a core.
  public var reactorCount: Int?
  /// What reactors ask the kernel by.
  public var reactorInterface = ReactorInterface.auto
  /// The databases to serve.
  public var databases: [DatabaseConfiguration] = []
  public var connectionLimits = ConnectionLimits()
  /// Which of the cluster's databases to serve besides them.
  public var databaseMatchers: [DatabaseMatcher] = []
  /// What to look for in AWS and serve.
  public var awsMatchers: [AWSMatcher] = []
  /// How often.
  public var pollInterval = DiscoveryConfiguration.defaultInterval
  /// What to look for in AWS and tell the cluster of.
  public var discovery = DiscoveryConfiguration()
  public var membership = MembershipConfiguration()
  public var auditLog = AuditLogConfiguration()
  public var queryAudit = QueryAuditConfiguration()

  /// Built-in defaults.
  public init() {}

  /// The file to use: `explicit`, else TELEPORT_CONFIG_FILE, else /etc/teleport.yaml if it is there.
  public static func path(explicit: String?, environment: [String: String]) -> String? {
    if let explicit { return explicit }
    if let path = environment["TELEPORT_CONFIG_FILE"], !path.isEmpty { return path }
    return FileManager.default.fileExists(atPath: "/etc/teleport.yaml") ? "/etc/teleport.yaml" : nil
  }

  /// Reads `path`; built-in defaults without one.
  public static func load(path: String?) throws -> TeleportConfiguration {
    guard let path else { return TeleportConfiguration() }
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ConfigurationError("\(path): cannot be read (give another file with -c)")
    }
    guard let text = String(data: data, encoding: .utf8) else { throw ConfigurationError("\(path): is not UTF-8") }
    return try TeleportConfiguration(yaml: text, file: path)
  }

  /// Reads the text of a file.
  ///
  /// - Parameter file: its name, for complaints.
  /// - Throws: `ConfigurationError` for the first mistake.
  public init(yaml: String, file: String) throws {
    let root = try YAMLSection(text: yaml, file: file)
    try root.allow([
      "version", "teleport", "auth_service", "proxy_service", "db_service", "ssh_service", "discovery_service",
    ])
    try root.refuse(UnsupportedKey.services)
    if let version = try root.string("version"), !["v1", "v2", "v3"].contains(version) {
      throw root.complaint("version", "must be v1, v2 or v3")
    }
    if let section = try root.section("teleport") { try readCommon(section) }
    if let section = try root.section("auth_service") { try readAuth(section) }
    if let section = try root.section("proxy_service") { try readProxy(section) }
    if let section = try root.section("db_service") { try readDatabaseService(section) }
    if let section = try root.section("discovery_service") { discovery = try DiscoveryConfiguration(section) }
  }

  private mutating func readCommon(_ section: YAMLSection) throws {
    try section.allow([
      "nodename", "data_dir", "proxy_server", "auth_server", "auth_servers", "join_params", "auth_token", "ca_pin",
      "log",
      "diag_addr", "pid_file", "shutdown_timeout", "connection_limits", "storage", "reactors", "reactor",
    ])
    if let section = try section.section("storage") { storage = try StorageConfiguration(section) }
    nodename = try section.string("nodename") ?? nodename
    dataDirectory = try section.string("data_dir") ?? dataDirectory
    guard dataDirectory.hasPrefix("/") else { throw section.complaint("data_dir", "must be an absolute path") }
    tokenName = try section.string("auth_token")
    if let join = try section.section("join_params") {
      try join.allow(["method", "token_name"])
      if let text = try join.string("method") {
        guard let method = JoinMethod(rawValue: text) else {
          throw join.complaint("method", "must be token or iam; there are no other join methods")
        }
        joinMethod = method
      }
      tokenName = try join.string("token_name") ?? tokenName
    }
    if let limits = try section.section("connection_limits") { connectionLimits = try ConnectionLimits(limits) }
    if let section = try section.section("log") { log = try LogConfiguration(section) }
    try membership.readCommon(section)
    try readOperations(section)
    if let text = try section.string("reactors"), text != "auto" {
      guard let count = Int(text), (1...256).contains(count) else {
        throw section.complaint("reactors", "must be 'auto' or a number from 1 to 256")
      }
      reactorCount = count
    }
    if let text = try section.string("reactor") {
      guard let interface = ReactorInterface(rawValue: text) else {
        throw section.complaint("reactor", "must be 'auto', 'io_uring' or 'epoll'")
      }
      reactorInterface = interface
    }
  }

  private mutating func readOperations(_ section: YAMLSection) throws {
    diagAddress = try section.string("diag_addr")
    if let diagAddress, HostPort(diagAddress) == nil {
      throw section.complaint("diag_addr", "must be HOST:PORT, such as 127.0.0.1:3000")
    }
    pidFile = try section.string("pid_file")
    if let text = try section.string("shutdown_timeout") {
      guard let timeout = GoDuration(text), timeout.seconds <= 86_400 else {
        throw section.complaint("shutdown_timeout", "must be a duration of at most 24h, such as 30s or 5m")
      }
      shutdownTimeout = timeout
    }
  }

  private mutating func readAuth(_ section: YAMLSection) throws {
    try section.allow([
      "enabled", "listen_addr", "public_addr", "cluster_name", "tokens", "authentication", "proxy_listener_mode",
      "host_certificate_ttl", "audit",
    ])
    try section.refuse(UnsupportedKey.auth)
    try membership.readAuth(section)
    if let audit = try section.section("audit") { auditLog = try AuditLogConfiguration(audit) }
    isAuthEnabled = try section.bool("enabled") ?? true
    clusterName = try section.string("cluster_name")
    if let clusterName, !Role.isValidName(clusterName) {
      throw section.complaint("cluster_name", "is not a valid name")
    }
    if let authentication = try section.section("authentication") { try readAuthentication(authentication) }
  }

  private mutating func readAuthentication(_ section: YAMLSection) throws {
    try section.allow(["type", "second_factor"])
    if let type = try section.string("type"), type != "local" {
      throw section.complaint("type", "must be 'local'; there are no other connectors")
    }
    if let text = try section.string("second_factor") {
      guard let mode = SecondFactorMode(rawValue: text) else {
        throw section.complaint("second_factor", "must be off, optional, on or otp")
      }
      secondFactor = mode
    }
  }

  private mutating func readProxy(_ section: YAMLSection) throws {
    try section.allow([
      "enabled", "listen_addr", "web_listen_addr", "tunnel_listen_addr", "public_addr", "postgres_listen_addr",
      "https_keypairs", "cancel_in_clear", "acme",
    ])
    try section.refuse(UnsupportedKey.proxy)
    isProxyEnabled = try section.bool("enabled") ?? true
    webListenAddress = try section.string("web_listen_addr") ?? webListenAddress
    postgresListenAddress = try section.string("postgres_listen_addr")
    let port = HostPort(webListenAddress)?.port
    publicAddresses = try section.strings("public_addr").map { text in
      // One without a port means the port that is listened on.
      guard let address = HostPort(text, defaultPort: port) else {
        throw section.complaint("public_addr", "must be HOST:PORT or [IPv6]:PORT")
      }
      return address.description
    }
    for (key, address) in [("web_listen_addr", webListenAddress), ("postgres_listen_addr", postgresListenAddress)] {
      guard let address, HostPort(address) == nil else { continue }
      throw section.complaint(key, "must be an IP address and a port, such as 0.0.0.0:3080 or [::]:3080")
    }
    // Without a port, it is the one that is listened on.
    guard publicAddresses.allSatisfy({ HostPort($0, defaultPort: 1) != nil }) else {
      throw section.complaint("public_addr", "must be HOST:PORT or [IPv6]:PORT")
    }
    allowsCancelInClear = try section.bool("cancel_in_clear") ?? true
    let pairs = try section.sections("https_keypairs")
    guard pairs.count <= 1 else { throw section.complaint("https_keypairs", "may have one entry only") }
    if let pair = pairs.first {
      try pair.allow(["key_file", "cert_file"])
      guard let certificate = try pair.string("cert_file"), let key = try pair.string("key_file") else {
        throw section.complaint("https_keypairs", "needs cert_file and key_file")
      }
      keyPair = (certificate, key)
    }
  }

  private mutating func readDatabaseService(_ section: YAMLSection) throws {
    try section.allow(["enabled", "databases", "resources", "aws", "poll_interval", "audit"])
    if let audit = try section.section("audit") { queryAudit = try QueryAuditConfiguration(audit) }
    isDatabaseEnabled = try section.bool("enabled") ?? true
    databases = try section.sections("databases").map(DatabaseConfiguration.init)
    databaseMatchers = try section.sections("resources").map(DatabaseMatcher.init)
    awsMatchers = try section.awsMatchers()
    pollInterval = try section.pollInterval()
    var names = Set<String>()
    for database in databases where !names.insert(database.name).inserted {
      throw section.complaint("databases", "has two entries named '\(database.name)'")
    }
  }
}
