import Foundation

/// Identity and Access Management, as far as a policy is made and given to a role or user (IAM API Reference, version
/// 2010-05-08). Each call has a time budget of its own.
public struct IAMClient: Sendable {
  /// A role or a user of the caller's account, by name.
  public enum Identity: Hashable, Sendable {
    case role(String)
    case user(String)

    var word: String { if case .role = self { "Role" } else { "User" } }
    var parameter: (name: String, value: String) {
      switch self {
      case .role(let name): ("RoleName", name)
      case .user(let name): ("UserName", name)
      }
    }
  }

  /// What IAM knows of a role or user.
  public struct IdentityDetails: Sendable {
    /// With its path.
    public let arn: String
    /// ARN of the policy that bounds it; `nil`: nothing does.
    public let boundary: String?
  }

  /// A managed policy.
  public struct Policy: Sendable {
    public let arn: String
    public let tags: [String: String]
    /// The version that is in force.
    public let defaultVersion: String
  }

  /// A role and who may assume it.
  public struct Role: Sendable {
    public let arn: String
    /// JSON.
    public let trustPolicy: String
  }

  /// A version of a managed policy.
  public struct PolicyVersion: Sendable {
    public let id: String
    public let isDefault: Bool

    public init(id: String, isDefault: Bool) {
      self.id = id
      self.isDefault = isDefault
    }
  }

  private let environment: AWSEnvironment
  private let credentials: AWSCredentials
  private let region: String

  /// - Parameter partition: of the credentials' account; IAM has one endpoint in each.
  public init(environment: AWSEnvironment, credentials: AWSCredentials, partition: Partition) {
    self.environment = environment
    self.credentials = credentials
    region = partition.anyRegion
  }

  // MARK: Reading

  /// GetRole or GetUser.
  ///
  /// - Returns: `nil` if there is none of that name.
  public func details(of identity: Identity) async throws -> IdentityDetails? {
    guard let answer = try await find("Get" + identity.word, [identity.parameter])?[identity.word] else { return nil }
    guard let arn = answer.value("Arn") else { throw Self.unreadable("Get" + identity.word) }
    return IdentityDetails(arn: arn, boundary: answer.value("PermissionsBoundary", "PermissionsBoundaryArn"))
  }

  /// ListAttachedRolePolicies or ListAttachedUserPolicies: the ARNs.
  public func attachedPolicies(of identity: Identity) async throws -> [String] {
    try await pages("ListAttached\(identity.word)Policies", [identity.parameter]) { answer in
      answer.list("AttachedPolicies").compactMap { $0.value("PolicyArn") }
    }
  }

  /// ListRolePolicies or ListUserPolicies: names of the policies that are part of the identity itself.
  public func inlinePolicies(of identity: Identity) async throws -> [String] {
    try await pages("List\(identity.word)Policies", [identity.parameter]) { answer in
      answer.list("PolicyNames").map(\.text)
    }
  }

  /// ListRoles: all of the account.
  public func roles() async throws -> [Role] {
    // A trust policy may have 12 KiB in this encoding, and an answer 1 MiB.
    try await pages("ListRoles", [("MaxItems", "50")]) { answer in
      answer.list("Roles").compactMap { role in
        guard let arn = role.value("Arn"), let trust = role.value("AssumeRolePolicyDocument")?.removingPercentEncoding
        else { return nil }
        return Role(arn: arn, trustPolicy: trust)
      }
    }
  }

  /// GetPolicy.
  ///
  /// - Returns: `nil` if there is none of that ARN.
  public func policy(_ arn: String) async throws -> Policy? {
    guard let answer = try await find("GetPolicy", [("PolicyArn", arn)])?["Policy"] else { return nil }
    guard let version = answer.value("DefaultVersionId") else { throw Self.unreadable("GetPolicy") }
    let tags = answer.list("Tags").compactMap { tag in
      tag.value("Key").map { ($0, tag.value("Value") ?? "") }
    }
    return Policy(arn: arn, tags: Dictionary(tags) { first, _ in first }, defaultVersion: version)
  }

  /// GetPolicyVersion: the document, JSON.
  public func document(ofPolicy arn: String, version: String) async throws -> String {
    let answer = try await call("GetPolicyVersion", [("PolicyArn", arn), ("VersionId", version)])
    guard let text = answer.value("PolicyVersion", "Document")?.removingPercentEncoding else {
      throw Self.unreadable("GetPolicyVersion")
    }
    return text
  }

  /// ListPolicyVersions, the latest first.
  public func versions(ofPolicy arn: String) async throws -> [PolicyVersion] {
    try await pages("ListPolicyVersions", [("PolicyArn", arn)]) { answer in
      answer.list("Versions").compactMap { version in
        version.value("VersionId").map {
          PolicyVersion(id: $0, isDefault: version.value("IsDefaultVersion") == "true")
        }
      }
    }
  }

  // MARK: Changing

  /// CreatePolicy.
  public func createPolicy(
    name: String, description: String, document: String, tag: (key: String, value: String)
  ) async throws {
    _ = try await call(
      "CreatePolicy",
      [
        ("PolicyName", name), ("Description", description), ("PolicyDocument", document),
        ("Tags.member.1.Key", tag.key), ("Tags.member.1.Value", tag.value),
      ])
  }

  /// CreatePolicyVersion: it is in force at once.
  public func createVersion(ofPolicy arn: String, document: String) async throws {
    _ = try await call(
      "CreatePolicyVersion", [("PolicyArn", arn), ("PolicyDocument", document), ("SetAsDefault", "true")])
  }

  /// DeletePolicyVersion: a policy has five at most.
  public func deleteVersion(ofPolicy arn: String, version: String) async throws {
    _ = try await call("DeletePolicyVersion", [("PolicyArn", arn), ("VersionId", version)])
  }

  /// AttachRolePolicy or AttachUserPolicy.
  public func attach(policy arn: String, to identity: Identity) async throws {
    _ = try await call("Attach\(identity.word)Policy", [identity.parameter, ("PolicyArn", arn)])
  }

  /// PutRolePermissionsBoundary or PutUserPermissionsBoundary.
  public func setBoundary(_ arn: String, of identity: Identity) async throws {
    _ = try await call(
      "Put\(identity.word)PermissionsBoundary", [identity.parameter, ("PermissionsBoundary", arn)])
  }

  // MARK: Calls

  private func call(_ action: String, _ parameters: [(name: String, value: String)]) async throws -> XMLTree {
    do {
      return try await AWSCaller(environment: environment)
        .call(.iam, action, parameters, region: region, credentials: credentials)
    } catch let error as AWSError where error.code == "AccessDenied" {
      throw error.mended("The credentials in use need iam:\(action).")
    }
  }

  private func find(_ action: String, _ parameters: [(name: String, value: String)]) async throws -> XMLTree? {
    do {
      return try await call(action, parameters)
    } catch let error as AWSError where error.code == "NoSuchEntity" {
      return nil
    }
  }

  private func pages<Item>(
    _ action: String, _ parameters: [(name: String, value: String)], _ read: (XMLTree) -> [Item]
  ) async throws -> [Item] {
    try await AWSCaller.allPages { marker in
      let answer = try await call(action, parameters + (marker.map { [("Marker", $0)] } ?? []))
      return (read(answer), answer.value("IsTruncated") == "true" ? answer.value("Marker") : nil)
    }
  }

  private static func unreadable(_ action: String) -> AWSError {
    AWSError("InvalidResponse", "the answer of iam to \(action) cannot be read")
  }
}
