import AWS
import Audit
import ConfigurationFile
import ControlAPI

/// How AWS is asked for a login at one database of Redshift, serverless or provisioned.
struct RedshiftTarget: Sendable, Equatable {
  let target: DatabaseLogin.Target
  let region: String
  let account: String
  let assumeRole: RoleARN?
  let externalID: String?
  /// Part of it is what the DNS said of the host's name.
  let isOfAlias: Bool

  /// Takes what the host's name tells, then what the name tells that it is an alias of, and the configuration for the rest.
  ///
  /// - Throws: `ConfigurationError` that names the key which is missing or contradicts; `AWSError` for a bad role.
  /// - Returns: `nil` for a database that is none of Redshift.
  init?(_ configuration: DatabaseConfiguration, host: String, complaint: (String) -> ConfigurationError) throws {
    let named = RedshiftEndpoint(host: host)
    var endpoint = named
    // Asking the DNS takes time: only where a name of Redshift is expected and something is missing.
    if endpoint == nil, configuration.hasAWS, !Self.isComplete(configuration) {
      endpoint = AliasLookup.aliases(of: host).lazy.compactMap(RedshiftEndpoint.init(host:)).first
    }
    guard endpoint != nil || configuration.workgroup != nil || configuration.clusterID != nil else {
      guard configuration.hasAWS else { return nil }
      throw complaint(
        "the uri's host is neither a name of Redshift nor an alias of one; set aws.redshift_serverless.workgroup_name or "
          + "aws.redshift.cluster_id")
    }
    func pick(_ configured: String?, _ derived: String?, _ key: String) throws -> String {
      if let configured, let derived, configured != derived {
        throw complaint("\(key) '\(configured)' contradicts the uri, which says '\(derived)'")
      }
      guard let value = configured ?? derived, !value.isEmpty else {
        throw complaint("\(key) cannot be read from the uri; set it")
      }
      return value
    }
    if configuration.clusterID != nil || endpoint?.isCluster == true && configuration.workgroup == nil {
      if let endpoint, !endpoint.isCluster {
        throw complaint("aws.redshift contradicts the uri, which is of a workgroup")
      }
      target = .cluster(try pick(configuration.clusterID, endpoint?.cluster, "aws.redshift.cluster_id"))
    } else {
      if endpoint?.isCluster == true {
        throw complaint("aws.redshift_serverless contradicts the uri, which is of a provisioned cluster")
      }
      target = .workgroup(
        try pick(configuration.workgroup, endpoint?.workgroup, "aws.redshift_serverless.workgroup_name"))
    }
    region = try pick(configuration.region, endpoint?.region, "aws.region")
    account = try pick(configuration.accountID, endpoint?.account, "aws.account_id")
    guard RoleARN.isAccount(account) else { throw complaint("aws.account_id '\(account)' has not 12 digits") }
    isOfAlias = named == nil && endpoint != nil
    assumeRole = try configuration.assumeRoleARN.map { try RoleARN($0) }
    externalID = configuration.externalID
    if let assumeRole, assumeRole.partition != Partition(region: region).rawValue {
      throw complaint("aws.assume_role_arn \(assumeRole) is of another partition than region \(region)")
    }
  }

  private static func isComplete(_ configuration: DatabaseConfiguration) -> Bool {
    (configuration.workgroup ?? configuration.clusterID) != nil && configuration.region != nil
      && configuration.accountID != nil
  }

  /// The login of `user`; see `DatabaseLogin.User`.
  ///
  /// - Parameter isSpelledOut: a role names the user letter by letter, so that it may be of another account.
  func login(user: String, database: String, isSpelledOut: Bool) throws -> DatabaseLogin {
    DatabaseLogin(
      target: target, region: region, database: database, assumeRole: assumeRole, externalID: externalID,
      user: try DatabaseLogin.User(
        user, at: target, account: account, region: region, mayBeForeign: isSpelledOut))
  }

  /// Where a bare user name means an IAM role of that account; `nil`: it does not.
  var accountOfUsers: String? {
    guard case .workgroup = target else { return nil }
    return account
  }

  /// The workgroup, if it is one.
  var workgroup: String? {
    guard case .workgroup(let name) = target else { return nil }
    return name
  }

  /// What it is and where.
  var place: String {
    let what =
      switch target {
      case .workgroup(let name): "workgroup '\(name)'"
      case .cluster(let name): "cluster '\(name)'"
      }
    return "\(what) of account \(account) in \(region)"
  }

  /// The provisioned cluster, if it is one.
  var cluster: DatabaseRecord.Cluster? {
    guard case .cluster(let name) = target else { return nil }
    return DatabaseRecord.Cluster(id: name, account: account, region: region)
  }

  var auditType: String {
    switch target {
    case .workgroup: "redshift-serverless"
    case .cluster: "redshift"
    }
  }

  var auditFields: [(name: StaticString, value: AuditEvent.Value)] {
    let place: [(name: StaticString, value: AuditEvent.Value)] = [
      ("db_aws_region", .text(region)), ("db_aws_account_id", .text(account)),
    ]
    switch target {
    case .workgroup(let name): return place + [("db_aws_redshift_serverless_workgroup", .text(name))]
    case .cluster(let name): return place + [("db_aws_redshift_cluster_id", .text(name))]
    }
  }
}
