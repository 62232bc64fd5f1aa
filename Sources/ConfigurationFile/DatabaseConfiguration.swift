import AccessControl
import TextForms

/// One entry of `db_service.databases`.
public struct DatabaseConfiguration: Sendable, Equatable {
  /// Unique among the databases.
  public var name: String
  /// For people; may be empty.
  public var description: String
  /// Host and port of the database.
  public var uri: String
  /// What roles select it by.
  public var labels: [String: String]
  /// Labels whose value a command gives, from time to time.
  public var dynamicLabels: [DynamicLabel] = []
  /// `verify-full`, `verify-ca` or `insecure`.
  public var tlsMode: String
  /// CA file to trust the database by; `nil`: the system's.
  public var caFile: String?
  /// The CA itself, where the database does not come from a file.
  public var caPEM: String?
  /// Name its certificate must have; `nil`: the host of `uri`.
  public var serverName: String?
  /// AWS region; `nil`: as `uri` says.
  public var region: String?
  /// AWS account, twelve digits; `nil`: as `uri` says.
  public var accountID: String?
  /// Role to assume before all others.
  public var assumeRoleARN: String?
  /// External ID for that role.
  public var externalID: String?
  /// Workgroup; `nil`: as `uri` says.
  public var workgroup: String?
  /// Identifier of a provisioned cluster; `nil`: as `uri` says.
  public var clusterID: String?
  /// Something is said of AWS, so that the database is one of Redshift whatever its host is called.
  public var hasAWS: Bool {
    [region, accountID, assumeRoleARN, externalID, workgroup, clusterID].contains { $0 != nil }
  }
  /// How its server connections outlive their clients; `nil`: they do not.
  public var pool: PoolConfiguration?
  /// The VPC endpoint that `uri` has to name.
  var endpoint: String?
  var databaseProtocol: String

  init(_ section: YAMLSection) throws {
    try section.allow([
      "name", "description", "protocol", "uri", "static_labels", "dynamic_labels", "tls", "ca_cert_file", "aws",
      "admin_user", "pool",
    ])
    try section.refuse(UnsupportedKey.database)
    name = try section.string("name") ?? ""
    uri = try section.string("uri") ?? ""
    databaseProtocol = try section.string("protocol") ?? ""
    description = try section.string("description") ?? ""
    labels = try section.pairs("static_labels")
    dynamicLabels = try section.sections("dynamic_labels").map(DynamicLabel.init)
    guard dynamicLabels.count <= DynamicLabel.maximumCount else {
      throw section.complaint("dynamic_labels", "has more than \(DynamicLabel.maximumCount) entries")
    }
    let tls = try section.section("tls")
    try tls?.allow(["mode", "ca_cert_file", "server_name"])
    tlsMode = try tls?.string("mode") ?? Self.defaultMode
    caFile = try tls?.string("ca_cert_file") ?? section.string("ca_cert_file")
    serverName = try tls?.string("server_name")
    pool = try section.section("pool").map(PoolConfiguration.init)
    let aws = try section.section("aws")
    try aws?.allow(["region", "account_id", "assume_role_arn", "external_id", "redshift_serverless", "redshift"])
    region = try aws?.string("region")
    accountID = try aws?.string("account_id")
    assumeRoleARN = try aws?.string("assume_role_arn")
    externalID = try aws?.string("external_id")
    let serverless = try aws?.section("redshift_serverless")
    try serverless?.allow(["workgroup_name", "endpoint_name"])
    workgroup = try serverless?.string("workgroup_name")
    endpoint = try serverless?.string("endpoint_name")
    let cluster = try aws?.section("redshift")
    try cluster?.allow(["cluster_id"])
    clusterID = try cluster?.string("cluster_id")
    if let problem {
      let place: YAMLSection? =
        switch problem.key {
        case .endpoint: serverless
        case .redshift: aws
        default: nil
        }
      throw (place ?? section).complaint(problem.key.rawValue, problem.text)
    }
  }

  /// Host and port of `HOST:PORT` or `[v6]:PORT`; a scheme in front is dropped.
  public static func split(_ uri: String) -> (host: String, port: UInt16)? {
    var text = Substring(uri)
    for scheme in ["postgres://", "postgresql://"] where text.hasPrefix(scheme) { text = text.dropFirst(scheme.count) }
    return HostPort(String(text)).map { ($0.host, $0.port) }
  }
}
