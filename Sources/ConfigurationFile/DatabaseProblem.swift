import AccessControl
import ControlAPI

/// What is wrong with a database's description, wherever it was read.
struct DatabaseProblem {
  /// Its key in teleport.yaml.
  enum Key: String {
    case name, `protocol`, uri, tls, redshift
    case endpoint = "endpoint_name"

    /// The same in a resource.
    var path: [String] {
      switch self {
      case .name: ["metadata", "name"]
      case .protocol, .uri: ["spec", rawValue]
      case .tls: ["spec", "tls", "mode"]
      case .redshift: ["spec", "aws", rawValue]
      case .endpoint: ["spec", "aws", "redshift_serverless", rawValue]
      }
    }
  }

  let key: Key
  /// Goes on after the key.
  let text: String
}

extension DatabaseConfiguration {
  static let defaultMode = "verify-full"
  private static let modes = ["verify-full", "verify-ca", "insecure"]

  /// The first thing that is wrong.
  var problem: DatabaseProblem? {
    guard Role.isValidName(name) else {
      return DatabaseProblem(
        key: .name, text: "is missing or has other characters than letters, digits and . _ @ + -")
    }
    guard databaseProtocol == "postgres" else { return DatabaseProblem(key: .protocol, text: "must be 'postgres'") }
    guard let host = Self.split(uri)?.host else { return DatabaseProblem(key: .uri, text: "must be HOST:PORT") }
    guard Self.modes.contains(tlsMode) else {
      return DatabaseProblem(key: .tls, text: "has a mode other than verify-full, verify-ca and insecure")
    }
    guard workgroup == nil || clusterID == nil else {
      return DatabaseProblem(
        key: .redshift, text: "and redshift_serverless exclude each other: a database is of one of them")
    }
    // The uri is what is dialled: the endpoint's name can but agree with it.
    if let endpoint, !host.hasPrefix("\(endpoint)-endpoint-") {
      return DatabaseProblem(key: .endpoint, text: "is not the endpoint that uri names, \(host)")
    }
    return nil
  }

  /// A database that was made with `tctl create`.
  ///
  /// - Throws: `RoleError` with the place of what is wrong.
  public init(_ resource: DatabaseResource) throws {
    let spec = resource.spec
    name = resource.name
    description = resource.metadata.description ?? ""
    databaseProtocol = spec.protocol
    uri = spec.uri
    labels = resource.metadata.labels ?? [:]
    tlsMode = spec.tls?.mode ?? Self.defaultMode
    caPEM = spec.tls?.caCert
    serverName = spec.tls?.serverName
    region = spec.aws?.region
    accountID = spec.aws?.accountID
    assumeRoleARN = spec.aws?.assumeRoleARN
    externalID = spec.aws?.externalID
    workgroup = spec.aws?.redshiftServerless?.workgroupName
    endpoint = spec.aws?.redshiftServerless?.endpointName
    clusterID = spec.aws?.redshift?.clusterID
    pool = try spec.pool.map(PoolConfiguration.init)
    if let problem { throw RoleError("'\(problem.key.rawValue)' \(problem.text)", at: problem.key.path) }
  }
}
