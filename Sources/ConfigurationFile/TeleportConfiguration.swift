import AccessControl
import Foundation

/// teleport.yaml, as far as this program uses it.
public struct TeleportConfiguration: Sendable {
  public var nodename = "localhost"
  public var dataDirectory = "/var/lib/teleport"
  public var logSeverity = "INFO"
  /// A join token, or the path of a file that holds it.
  public var tokenName: String?
  public var isAuthEnabled = true
  public var isProxyEnabled = true
  public var isDatabaseEnabled = false
  public var clusterName: String?
  /// `auth_service.authentication.second_factor`; `nil` leaves it to the cluster_auth_preference resource.
  public var secondFactor: SecondFactorMode?
  public var webListenAddress = "0.0.0.0:3080"
  public var postgresListenAddress: String?
  public var publicAddresses: [String] = []
  public var keyPair: (certificateFile: String, keyFile: String)?
  public var allowsCancelInClear = true
  /// `nil`: one a core.
  public var reactorCount: Int?
  public var databases: [DatabaseConfiguration] = []

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

  public init(yaml: String, file: String) throws {
    let root = try YAMLSection(text: yaml, file: file)
    try root.allow([
      "version", "teleport", "auth_service", "proxy_service", "db_service", "ssh_service", "discovery_service",
    ])
    if let version = try root.string("version"), !["v1", "v2", "v3"].contains(version) {
      throw root.complaint("version", "must be v1, v2 or v3")
    }
    if let section = try root.section("teleport") { try readCommon(section) }
    if let section = try root.section("auth_service") { try readAuth(section) }
    if let section = try root.section("proxy_service") { try readProxy(section) }
    if let section = try root.section("db_service") { try readDatabaseService(section) }
  }

  private mutating func readCommon(_ section: YAMLSection) throws {
    try section.allow([
      "nodename", "data_dir", "proxy_server", "auth_server", "auth_servers", "join_params", "auth_token", "ca_pin",
      "log",
      "diag_addr", "connection_limits", "storage", "reactors",
    ])
    nodename = try section.string("nodename") ?? nodename
    dataDirectory = try section.string("data_dir") ?? dataDirectory
    guard dataDirectory.hasPrefix("/") else { throw section.complaint("data_dir", "must be an absolute path") }
    tokenName = try section.string("auth_token")
    if let join = try section.section("join_params") {
      try join.allow(["method", "token_name"])
      if let method = try join.string("method"), method != "token" {
        throw join.complaint("method", "must be 'token'; other join methods are not supported yet")
      }
      tokenName = try join.string("token_name") ?? tokenName
    }
    if let log = try section.section("log") {
      try log.allow(["output", "severity", "format"])
      logSeverity = try log.string("severity") ?? logSeverity
    }
    if let text = try section.string("reactors"), text != "auto" {
      guard let count = Int(text), (1...256).contains(count) else {
        throw section.complaint("reactors", "must be 'auto' or a number from 1 to 256")
      }
      reactorCount = count
    }
  }

  private mutating func readAuth(_ section: YAMLSection) throws {
    try section.allow([
      "enabled", "listen_addr", "public_addr", "cluster_name", "tokens", "authentication", "proxy_listener_mode",
    ])
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
    isProxyEnabled = try section.bool("enabled") ?? true
    webListenAddress = try section.string("web_listen_addr") ?? webListenAddress
    postgresListenAddress = try section.string("postgres_listen_addr")
    publicAddresses = try section.strings("public_addr")
    allowsCancelInClear = try section.bool("cancel_in_clear") ?? true
    if let pair = try section.sections("https_keypairs").first {
      try pair.allow(["key_file", "cert_file"])
      guard let certificate = try pair.string("cert_file"), let key = try pair.string("key_file") else {
        throw section.complaint("https_keypairs", "needs cert_file and key_file")
      }
      keyPair = (certificate, key)
    }
  }

  private mutating func readDatabaseService(_ section: YAMLSection) throws {
    try section.allow(["enabled", "databases", "resources", "aws"])
    isDatabaseEnabled = try section.bool("enabled") ?? true
    databases = try section.sections("databases").map(DatabaseConfiguration.init)
    var names = Set<String>()
    for database in databases where !names.insert(database.name).inserted {
      throw section.complaint("databases", "has two entries named '\(database.name)'")
    }
  }
}
