import AccessControl
import TextForms

/// One entry of `db_service.databases`.
public struct DatabaseConfiguration: Sendable {
  /// Unique among the databases.
  public var name: String
  /// For people; may be empty.
  public var description: String
  /// Host and port of the database.
  public var uri: String
  /// What roles select it by.
  public var labels: [String: String]
  /// `verify-full`, `verify-ca` or `insecure`.
  public var tlsMode: String
  /// CA file to trust the database by; `nil`: the system's.
  public var caFile: String?
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
  public var hasAWS: Bool

  init(_ section: YAMLSection) throws {
    try section.allow([
      "name", "description", "protocol", "uri", "static_labels", "dynamic_labels", "tls", "ca_cert_file", "aws",
      "admin_user",
    ])
    try section.refuse(UnsupportedKey.database)
    guard let name = try section.string("name"), Role.isValidName(name) else {
      throw section.complaint("name", "is missing or has other characters than letters, digits and . _ @ + -")
    }
    guard try section.string("protocol") == "postgres" else {
      throw section.complaint("protocol", "must be 'postgres'")
    }
    guard let uri = try section.string("uri"), let host = Self.split(uri)?.host else {
      throw section.complaint("uri", "must be HOST:PORT")
    }
    self.name = name
    self.uri = uri
    description = try section.string("description") ?? ""
    labels = try section.pairs("static_labels")
    let tls = try section.section("tls")
    try tls?.allow(["mode", "ca_cert_file", "server_name"])
    tlsMode = try tls?.string("mode") ?? "verify-full"
    guard ["verify-full", "verify-ca", "insecure"].contains(tlsMode) else {
      throw section.complaint("tls", "has a mode other than verify-full, verify-ca and insecure")
    }
    caFile = try tls?.string("ca_cert_file") ?? section.string("ca_cert_file")
    serverName = try tls?.string("server_name")
    let aws = try section.section("aws")
    try aws?.allow(["region", "account_id", "assume_role_arn", "external_id", "redshift_serverless", "redshift"])
    region = try aws?.string("region")
    accountID = try aws?.string("account_id")
    assumeRoleARN = try aws?.string("assume_role_arn")
    externalID = try aws?.string("external_id")
    let serverless = try aws?.section("redshift_serverless")
    try serverless?.allow(["workgroup_name", "endpoint_name"])
    workgroup = try serverless?.string("workgroup_name")
    let cluster = try aws?.section("redshift")
    try cluster?.allow(["cluster_id"])
    clusterID = try cluster?.string("cluster_id")
    hasAWS = [region, accountID, assumeRoleARN, externalID, workgroup, clusterID].contains { $0 != nil }
    if let aws, workgroup != nil, clusterID != nil {
      throw aws.complaint("redshift", "and redshift_serverless exclude each other: a database is of one of them")
    }
    // The uri is what is dialled: the endpoint's name can but agree with it.
    if let serverless, let endpoint = try serverless.string("endpoint_name"), !host.hasPrefix("\(endpoint)-endpoint-") {
      throw serverless.complaint("endpoint_name", "is not the endpoint that uri names, \(host)")
    }
  }

  /// Host and port of `HOST:PORT` or `[v6]:PORT`; a scheme in front is dropped.
  public static func split(_ uri: String) -> (host: String, port: UInt16)? {
    var text = Substring(uri)
    for scheme in ["postgres://", "postgresql://"] where text.hasPrefix(scheme) { text = text.dropFirst(scheme.count) }
    return HostPort(String(text)).map { ($0.host, $0.port) }
  }
}
