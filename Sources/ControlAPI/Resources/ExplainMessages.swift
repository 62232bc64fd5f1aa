import AccessControl

/// Body of `POST /v1/explain`: a session that somebody might ask for.
public struct ExplainRequest: Codable, Sendable {
  public var user: String
  /// Name of the database in the cluster.
  public var database: String
  public var databaseUser: String
  public var databaseName: String
  public var wantsReplication: Bool

  public init(user: String, database: String, databaseUser: String, databaseName: String, wantsReplication: Bool) {
    self.user = user
    self.database = database
    self.databaseUser = databaseUser
    self.databaseName = databaseName
    self.wantsReplication = wantsReplication
  }
}

/// Its answer.
public struct ExplainResponse: Codable, Sendable {
  /// Whether the session would start, as far as the cluster decides.
  public var allowed: Bool
  /// What stands against it; empty if it is allowed.
  public var problems: [String]
  /// What would change that.
  public var mends: [String]
  public var request: ExplainRequest
  /// Labels of the database, as the host that serves it reports them; `nil` if none does.
  public var labels: [String: String]?
  /// What each role says; empty without a user, a role or a database.
  public var roles: [RoleFinding]
  /// Names of the locks that shut the session out.
  public var locks: [String]
  /// How AWS would be asked for a login; `nil` for a database without AWS, and where it cannot be told.
  public var aws: RoleChain?

  public init(request: ExplainRequest) {
    self.request = request
    (allowed, problems, mends, roles, locks) = (false, [], [], [], [])
  }
}

/// How a login of Redshift, serverless or provisioned, is got from AWS.
public struct RoleChain: Codable, Sendable, Equatable {
  /// ARNs of the roles that are assumed, in that order; the last one is the database user's, where users are roles.
  public var roles: [String]
  public var account: String
  public var region: String
  /// The workgroup that gives the password; `nil` for a provisioned cluster.
  public var workgroup: String?
  /// The provisioned cluster likewise.
  public var cluster: String?
  /// The user that the session has in the database.
  public var databaseUser: String

  public init(
    roles: [String], account: String, region: String, workgroup: String? = nil, cluster: String? = nil,
    databaseUser: String
  ) {
    self.roles = roles
    self.account = account
    self.region = region
    self.workgroup = workgroup
    self.cluster = cluster
    self.databaseUser = databaseUser
  }
}
