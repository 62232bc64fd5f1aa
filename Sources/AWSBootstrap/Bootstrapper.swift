import AWS

/// Gives a target its permissions: asks IAM what is there, plans, changes.
public struct Bootstrapper: Sendable {
  /// How a target is chosen on the command line.
  public enum Choice: Sendable {
    /// The identity of the credentials in use.
    case caller
    /// A name in the caller's account, or an ARN.
    case role(String)
    case user(String)
  }

  public static let defaultPolicyName = "DatabaseAccess"

  private let iam: IAMClient
  private let caller: BootstrapTarget

  /// Finds credentials and asks STS whose they are.
  ///
  /// - Throws: `CredentialsError`, `AWSError` or `BootstrapError`.
  public init(environment: AWSEnvironment) async throws {
    let found = try await CredentialChain(environment: environment).find()
    let sts = STSClient(
      caller: AWSCaller(environment: environment), region: try await environment.discoverRegion(for: found))
    let identity = try await sts.callerIdentity(found.credentials)
    // The root user may make policies, though none can be attached to it.
    let parts = identity.arn.split(separator: ":").map(String.init)
    guard let partition = parts.count > 1 ? Partition(rawValue: parts[1]) : nil, RoleARN.isAccount(identity.account)
    else {
      throw AWSError("InvalidResponse", "STS says that the caller is '\(identity.arn)', which is not understood")
    }
    iam = IAMClient(environment: environment, credentials: found.credentials, partition: partition)
    if identity.arn.hasSuffix(":root") {
      caller = BootstrapTarget(identity: .user(""), account: identity.account, partition: partition, arn: identity.arn)
    } else {
      caller = try BootstrapTarget(arn: identity.arn)
    }
  }

  /// The account of the credentials.
  public var account: BootstrapTarget.Account { (caller.account, caller.partition) }

  /// The target with its full ARN.
  public func target(_ choice: Choice) async throws -> BootstrapTarget {
    var wanted: BootstrapTarget
    switch choice {
    case .caller:
      guard caller.name != "" else {
        throw BootstrapError(
          "the credentials are of the account's root user, to which no policy can be attached",
          mend: "Name a role or user with --attach-to-role or --attach-to-user.")
      }
      wanted = caller
    case .role(let text): wanted = try Self.named(text, identity: .role(text), like: caller)
    case .user(let text): wanted = try Self.named(text, identity: .user(text), like: caller)
    }
    guard wanted.account == caller.account, wanted.partition == caller.partition else {
      throw BootstrapError(
        "\(wanted.arn ?? wanted.name) is of another account than the credentials, \(caller.account ?? "")",
        mend: "Run this with credentials of its account.")
    }
    guard let details = try await iam.details(of: wanted.identity) else {
      throw BootstrapError(
        "there is no \(wanted.description) in account \(caller.account ?? "")", mend: "Create it first.")
    }
    guard wanted.arn == nil || wanted.arn == details.arn else {
      throw BootstrapError("\(wanted.description) has the ARN \(details.arn), not \(wanted.arn ?? "")")
    }
    return BootstrapTarget(
      identity: wanted.identity, account: wanted.account, partition: wanted.partition, arn: details.arn)
  }

  /// A name or ARN of the kind that `identity` is.
  static func named(
    _ text: String, identity: IAMClient.Identity, like other: BootstrapTarget
  ) throws -> BootstrapTarget {
    guard text.hasPrefix("arn:") else {
      return BootstrapTarget(identity: identity, account: other.account, partition: other.partition)
    }
    let target = try BootstrapTarget(arn: text)
    switch (identity, target.identity) {
    case (.role, .role), (.user, .user): return target
    default: throw BootstrapError("\(text) is not the ARN of what the option names")
    }
  }

  /// The roles of the account whose trust policies name the target by its ARN.
  public func rolesTrusting(_ target: BootstrapTarget) async throws -> [String] {
    guard let arn = target.arn else { return [] }
    return try await iam.roles().filter { $0.arn != arn && TrustPolicy.names(arn, in: $0.trustPolicy) }.map(\.arn)
  }

  /// - Parameters:
  ///   - userRoles: ARNs, or patterns of them, that users connect as.
  ///   - policyName: the boundary gets this name and `Boundary`.
  ///   - attaches: `false` makes the policies only.
  public func plan(
    _ needs: TargetNeeds, userRoles: [String], policyName: String, attaches: Bool = true
  ) async throws -> BootstrapPlan {
    let target = needs.target
    func policy(_ purpose: ManagedPolicy.Purpose, _ name: String, _ document: PolicyDocument) throws -> ManagedPolicy {
      guard (1...128).contains(name.utf8.count), name.wholeMatch(of: /[A-Za-z0-9_+=,.@\-]+/) != nil else {
        throw BootstrapError("'\(name)' is not a policy name", mend: "At most 128 letters, digits and +=,.@_- only.")
      }
      let arn = "arn:\(target.partition.rawValue):iam::\(target.account ?? ""):policy/\(name)"
      return ManagedPolicy(purpose: purpose, name: name, arn: arn, document: document)
    }
    let permissions = try policy(.permissions, policyName, needs.policy(userRoles: userRoles))
    let boundary = try policy(.boundary, policyName + "Boundary", needs.boundary)
    return try BootstrapPlan(
      target: target, permissions: (permissions, await look(permissions.arn)),
      boundary: (boundary, await look(boundary.arn)),
      found: .init(
        attached: await iam.attachedPolicies(of: target.identity),
        inline: await iam.inlinePolicies(of: target.identity),
        boundary: await iam.details(of: target.identity)?.boundary), attaches: attaches)
  }

  private func look(_ arn: String) async throws -> ManagedPolicy.Found? {
    guard let policy = try await iam.policy(arn) else { return nil }
    return ManagedPolicy.Found(
      tags: policy.tags, document: try await iam.document(ofPolicy: arn, version: policy.defaultVersion),
      versions: try await iam.versions(ofPolicy: arn))
  }

  /// Makes the changes, one after the other.
  ///
  /// - Parameter report: hears of each one that is made.
  /// - Throws: `BootstrapError` that names the one that failed, those made before and those not made.
  public func apply(_ plan: BootstrapPlan, report: (String) -> Void) async throws {
    for (index, step) in plan.steps.enumerated() {
      do {
        try await apply(step, for: plan.target)
      } catch let error as AWSError {
        func list(_ steps: some Collection<BootstrapStep>) -> String {
          steps.isEmpty ? "nothing" : steps.map { $0.words(plan.target) }.joined(separator: "; ")
        }
        throw BootstrapError(
          "step \(index + 1) of \(plan.steps.count) failed, to \(step.words(plan.target)): \(error). Done before: "
            + "\(list(plan.steps[..<index])). Not done: \(list(plan.steps[index...]))",
          mend: (error.mend.map { "\($0) " } ?? "") + "Run the command again to go on from there.")
      }
      report("Done: \(step.words(plan.target)).")
    }
  }

  private func apply(_ step: BootstrapStep, for target: BootstrapTarget) async throws {
    switch step {
    case .create(let policy):
      try await iam.createPolicy(
        name: policy.name, description: "Database access of \(target.description), made by teleport db configure",
        document: policy.document.json, tag: (BootstrapPlan.tagKey, target.tagValue))
    case .update(let policy, let version):
      if let version { try await iam.deleteVersion(ofPolicy: policy.arn, version: version) }
      try await iam.createVersion(ofPolicy: policy.arn, document: policy.document.json)
    case .attach(let policy): try await iam.attach(policy: policy.arn, to: target.identity)
    case .setBoundary(let policy): try await iam.setBoundary(policy.arn, of: target.identity)
    }
  }
}
