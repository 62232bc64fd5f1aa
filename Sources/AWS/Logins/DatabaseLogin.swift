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

    /// Whom `user` means: at a workgroup an IAM role by name or ARN, at a cluster a role's ARN or a database user's name.
    ///
    /// - Parameter mayBeForeign: somebody who may has written that very ARN: it may be of another account than the database.
    public init(
      _ user: String, at target: Target, account: String, region: String, mayBeForeign: Bool
    ) throws {
      if case .cluster = target, !user.hasPrefix("arn:") {
        self = .name(user)
      } else {
        self = .role(
          try RoleARN.ofDatabaseUser(user, account: account, region: region, mayBeForeign: mayBeForeign))
      }
    }
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

  /// The roles to be assumed, in their order, each by the session of the one before.
  ///
  /// - Parameter sessionName: names the sessions; see `SessionName`.
  public func hops(sessionName: String) -> [STSClient.RoleSession] {
    var roles = assumeRole.map { [$0] } ?? []
    if case .role(let role) = user { roles.append(role) }
    // The external ID vouches for the first hop only. One hour: the most that a role assumed by a role's session may have.
    return roles.enumerated().map { index, role in
      STSClient.RoleSession(role: role, name: sessionName, externalID: index == 0 ? externalID : nil)
    }
  }

  /// The same, as what is kept; `nil`: there are none.
  func path(sessionName: String) -> RoleSessions.Path? {
    let hops = hops(sessionName: sessionName)
    return hops.isEmpty ? nil : RoleSessions.Path(region: region, hops: hops)
  }

  /// Asks AWS for the user's temporary password.
  ///
  /// - Parameter credentials: of the last of the roles.
  public func password(_ caller: AWSCaller, _ credentials: AWSCredentials) async throws -> DatabaseCredentials {
    let result = try await ask(caller, credentials)
    guard databaseUsers.contains(result.user) else {
      throw AWSError("InvalidResponse", "AWS answered for another database user than \(databaseUsers[0])")
    }
    return result
  }

  private func ask(_ caller: AWSCaller, _ credentials: AWSCredentials) async throws -> DatabaseCredentials {
    switch (target, user) {
    case (.workgroup(let name), _):
      let client = RedshiftServerlessClient(caller: caller, region: region, credentials: credentials)
      return try await client.getCredentials(workgroup: name, database: database)
    case (.cluster(let name), .role):
      let client = RedshiftClient(caller: caller, region: region, credentials: credentials)
      return try await client.getClusterCredentialsWithIAM(cluster: name, database: database)
    case (.cluster(let name), .name(let user)):
      let client = RedshiftClient(caller: caller, region: region, credentials: credentials)
      return try await client.getClusterCredentials(cluster: name, user: user, database: database)
    }
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
