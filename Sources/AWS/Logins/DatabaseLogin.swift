/// Which login is wanted: everything that makes one differ from another.
public struct DatabaseLogin: Hashable, Sendable {
  /// Who gives the password.
  public enum Target: Hashable, Sendable {
    /// A workgroup of Redshift Serverless, by name.
    case workgroup(String)
    /// A provisioned cluster, by identifier.
    case cluster(String)
  }

  /// Who logs in.
  public enum User: Hashable, Sendable {
    /// The database user that Redshift makes of a role, which is assumed for it.
    case role(RoleARN)
    /// A database user by name; of clusters only.
    case name(String)
  }

  public let target: Target
  public let region: String
  public let database: String
  /// Assumed first, if the database's configuration says so.
  public let assumeRole: RoleARN?
  public let externalID: String?
  public let user: User

  public init(
    target: Target, region: String, database: String, assumeRole: RoleARN?, externalID: String?, user: User
  ) {
    self.target = target
    self.region = region
    self.database = database
    self.assumeRole = assumeRole
    self.externalID = externalID
    self.user = user
  }

  /// The roles to be assumed, in their order; `nil`: none.
  ///
  /// - Parameter sessionName: names the sessions; see `SessionName`.
  func path(sessionName: String) -> RoleSessions.Path? {
    var roles = assumeRole.map { [$0] } ?? []
    if case .role(let role) = user { roles.append(role) }
    guard !roles.isEmpty else { return nil }
    // The external ID vouches for the first hop only. One hour: the most that a role assumed by a role's session may have.
    let hops = roles.enumerated().map { index, role in
      STSClient.RoleSession(role: role, name: sessionName, externalID: index == 0 ? externalID : nil)
    }
    return RoleSessions.Path(region: region, hops: hops)
  }

  /// What AWS may call the user at the database.
  var databaseUsers: [String] {
    switch user {
    case .role(let role): [role.databaseUser]
    // For GetClusterCredentials; the database itself knows the user by the bare name.
    case .name(let name): ["IAM:" + name, name]
    }
  }
}
