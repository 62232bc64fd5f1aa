import AWS
import ControlAPI

/// Something of the configuration that is reached through AWS.
public struct AccessNeed: Sendable {
  public enum Kind: Sendable {
    /// A workgroup of Redshift Serverless: its users are IAM roles.
    case workgroup
    /// A provisioned cluster: its users are names, or IAM roles.
    case cluster(id: String, region: String, account: String)
    /// All databases of these types that AWS lists; `isServed`: for logins as well.
    case discovery(Set<DatabaseType>, isServed: Bool = true)
  }

  /// As plans call it, such as `database 'sales'`.
  public let name: String
  public let kind: Kind
  /// Account of the database; `nil`: not known.
  public let account: String?
  public let partition: Partition
  /// Assumed before all else.
  public let assumeRole: RoleARN?
  public let externalID: String?

  public init(
    name: String, kind: Kind, account: String?, partition: Partition, assumeRole: RoleARN? = nil,
    externalID: String? = nil
  ) {
    self.name = name
    self.kind = kind
    self.account = account
    self.partition = partition
    self.assumeRole = assumeRole
    self.externalID = externalID
  }

  /// Whether roles are what its users are.
  var usersAreRoles: Bool {
    switch kind {
    case .workgroup: true
    case .cluster: false
    case .discovery(let types, let isServed): isServed && types.contains(.redshiftServerless)
    }
  }
}

/// What one target has to be allowed, by the rules for `assume_role_arn`: a role that needs are reached through is responsible
/// for these alone; any other target is the Database Service's own identity and answers for all of them, its share of the
/// needs with `assume_role_arn` being to assume that role.
public struct TargetNeeds: Sendable {
  public let target: BootstrapTarget
  /// It is some need's `assume_role_arn`.
  public let isAssumed: Bool
  /// Roles to assume first, with the external ID that each asks for.
  let firstHops: [RoleARN: String?]
  /// What the target reaches itself.
  let direct: [AccessNeed]

  public init(_ needs: [AccessNeed], of target: BootstrapTarget) {
    let through = needs.filter { $0.assumeRole.map(target.isRole) ?? false }
    // The configuration knows the role's path, which a name alone does not tell.
    self.target = BootstrapTarget(
      identity: target.identity, account: target.account, partition: target.partition,
      arn: target.arn ?? through.first?.assumeRole?.description)
    isAssumed = !through.isEmpty
    direct = isAssumed ? through : needs.filter { $0.assumeRole == nil }
    let hops = isAssumed ? [] : needs.compactMap { need in need.assumeRole.map { ($0, need.externalID) } }
    firstHops = Dictionary(hops) { first, _ in first }
  }

  /// Names of what it answers for.
  public var names: [String] { direct.map(\.name) }

  /// Somebody has to tell which roles users connect as, since the configuration does not.
  public var needsUserRoles: Bool { direct.contains(where: \.usersAreRoles) }

  /// The policy; with no statement if nothing is needed.
  ///
  /// - Parameter userRoles: ARNs, or patterns of them, that users connect as.
  public func policy(userRoles: [String]) throws -> PolicyDocument {
    let roles = Set(firstHops.keys.map(\.description) + userRoles)
    let document = PolicyDocument(
      statements: (roles.isEmpty ? [] : [.init("AssumeRoles", ["sts:AssumeRole"], on: roles)]) + ownStatements)
    guard document.size <= PolicyDocument.maximumSize else {
      throw BootstrapError(
        "the policy would have \(document.size) characters, IAM takes \(PolicyDocument.maximumSize)",
        mend: "Name fewer roles with --assumes-roles, or patterns such as arn:aws:iam::123456789012:role/redshift-*.")
    }
    return document
  }

  /// The boundary. It gives nothing by itself, so that it may leave open which roles: policies and trust policies decide that.
  public var boundary: PolicyDocument {
    PolicyDocument(statements: [.init("AssumeRoles", ["sts:AssumeRole"], on: ["*"])] + ownStatements)
  }

  /// What the target does under its own name.
  private var ownStatements: [PolicyDocument.Statement] {
    var discovered = Set<DatabaseType>()
    var logins = Set<String>()
    func addLogins(_ region: String, _ account: String, _ cluster: String) {
      for kind in ["dbuser", "dbname"] {
        logins.insert("arn:\(target.partition.rawValue):redshift:\(region):\(account):\(kind):\(cluster)/*")
      }
    }
    for need in direct {
      switch need.kind {
      case .workgroup: break
      case .cluster(let id, let region, let account): addLogins(region, account, id)
      case .discovery(let types, let isServed):
        discovered.formUnion(types)
        if isServed, types.contains(.redshift) { addLogins("*", target.account ?? "*", "*") }
      }
    }
    var statements: [PolicyDocument.Statement] = []
    if discovered.contains(.redshiftServerless) {
      let actions = ["ListEndpointAccess", "ListTagsForResource", "ListWorkgroups"]
      statements.append(.init("DiscoverRedshiftServerless", actions.map { "redshift-serverless:\($0)" }, on: ["*"]))
    }
    if discovered.contains(.redshift) {
      statements.append(.init("DiscoverRedshift", ["redshift:DescribeClusters"], on: ["*"]))
    }
    if !logins.isEmpty { statements.append(.init("LogInToRedshift", ["redshift:GetClusterCredentials"], on: logins)) }
    return statements
  }
}
