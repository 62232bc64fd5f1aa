import ControlAPI
import TextForms

/// Writes the configuration of `teleport db configure create`.
public struct ConfigurationWriter {
  /// Name of the database in the cluster; empty: the file has none.
  public var name = ""
  /// For people.
  public var description: String?
  /// `HOST:PORT` of the database.
  public var uri = ""
  /// `HOST:PORT` of the cluster.
  public var proxy = ""
  /// Join token, or the absolute path of its file.
  public var token = ""
  /// What proves that the host may join.
  public var joinMethod = JoinMethod.token
  /// `sha256:...` of the host CA.
  public var caPins: [String] = []
  /// Where the service keeps its state.
  public var dataDirectory = "/var/lib/teleport"
  /// Static labels.
  public var labels: [String: String] = [:]
  /// CA to trust the database by.
  public var caFile: String?
  /// Keys of the `aws` section, in this order.
  public var aws: [(key: String, value: String)] = []
  /// Workgroup of Redshift Serverless.
  public var workgroup: String?
  /// Identifier of a provisioned cluster.
  public var clusterID: String?
  /// Labels of the `db` resources to serve besides; one set of labels an entry.
  public var resources: [[String: String]] = []
  /// Regions in which to look for databases, by their type.
  public var discovery: [(type: DatabaseType, regions: [String])] = []
  /// What their tags have to be; empty: anything.
  public var discoveryTags: [String: String] = [:]
  /// This host holds the cluster: one process runs all services, the database service added.
  public var holdsCluster = false

  /// An empty configuration; `proxy` and `token` are needed, and a database or something to find one by.
  public init() {}

  private static func entries(_ pairs: [String: String], indent: Int) throws -> [String] {
    try pairs.sorted { $0.key < $1.key }.map { key, value in
      String(repeating: " ", count: indent) + "\(try quoted(key)): \(try quoted(value))"
    }
  }

  /// The file's text. Every value is quoted: none can break out of its place.
  public func text() throws -> String {
    let yes = holdsCluster ? "yes" : "no"
    var lines = [
      "# Made by 'teleport db configure create'.",
      "version: v3",
      "teleport:",
      "  data_dir: \(try Self.quoted(dataDirectory))",
      "  proxy_server: \(try Self.quoted(proxy))",
      "  join_params:",
      "    method: \(joinMethod.rawValue)",
      joinMethod == .token ? "    # The token itself, or the file that holds it." : "    # The name of the token.",
      "    token_name: \(try Self.quoted(token))",
    ]
    if !caPins.isEmpty {
      lines.append("  ca_pin:")
      for pin in caPins { lines.append("    - \(try Self.quoted(pin))") }
    }
    lines += [
      "auth_service:",
      "  enabled: \"\(yes)\"",
      "proxy_service:",
      "  enabled: \"\(yes)\"",
    ]
    if holdsCluster {
      guard let proxy = HostPort(proxy) else { throw ConfigurationError("the proxy must be HOST:PORT or [IPv6]:PORT") }
      lines += [
        "  web_listen_addr: \"0.0.0.0:\(proxy.port)\"", "  public_addr: \(try Self.quoted(proxy.description))",
      ]
    }
    lines += [
      "db_service:",
      "  enabled: \"yes\"",
    ]
    if !resources.isEmpty {
      lines.append("  resources:")
      for labels in resources {
        lines.append("    - labels:")
        lines += try Self.entries(labels, indent: 8)
      }
    }
    lines += try discoveryLines() + databaseLines()
    let text = lines.joined(separator: "\n") + "\n"
    // What is written must be what 'teleport start' reads.
    _ = try TeleportConfiguration(yaml: text, file: "the new configuration")
    return text
  }

  private func discoveryLines() throws -> [String] {
    var lines = discovery.isEmpty ? [] : ["  aws:"]
    for (type, regions) in discovery {
      lines += ["    - types: [\(type.rawValue)]", "      regions:"]
      for region in regions { lines.append("        - \(try Self.quoted(region))") }
      lines.append("      tags:")
      lines += try Self.entries(discoveryTags.isEmpty ? ["*": "*"] : discoveryTags, indent: 8)
      for (key, value) in aws where ["assume_role_arn", "external_id"].contains(key) {
        lines.append("      \(key): \(try Self.quoted(value))")
      }
    }
    return lines
  }

  private func databaseLines() throws -> [String] {
    guard !name.isEmpty else { return [] }
    var lines = [
      "  databases:",
      "    - name: \(try Self.quoted(name))",
      "      protocol: postgres",
      "      uri: \(try Self.quoted(uri))",
    ]
    if let description { lines.append("      description: \(try Self.quoted(description))") }
    if !labels.isEmpty {
      lines.append("      static_labels:")
      lines += try Self.entries(labels, indent: 8)
    }
    if let caFile { lines += ["      tls:", "        ca_cert_file: \(try Self.quoted(caFile))"] }
    if !aws.isEmpty || workgroup != nil || clusterID != nil {
      lines.append("      aws:")
      for (key, value) in aws { lines.append("        \(key): \(try Self.quoted(value))") }
      if let workgroup {
        lines += ["        redshift_serverless:", "          workgroup_name: \(try Self.quoted(workgroup))"]
      }
      if let clusterID { lines += ["        redshift:", "          cluster_id: \(try Self.quoted(clusterID))"] }
    }
    return lines
  }

  /// `value` as a double-quoted scalar.
  ///
  /// - Throws: `ConfigurationError` if it has control characters.
  public static func quoted(_ value: String) throws -> String {
    guard !value.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else {
      throw ConfigurationError("a value has control characters")
    }
    return "\"" + value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }
}
