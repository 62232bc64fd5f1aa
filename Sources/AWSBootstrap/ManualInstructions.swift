import AWS

/// The permissions of a target as steps for a person to follow in AWS's console. Needs no AWS.
public struct ManualInstructions: Sendable {
  private let needs: TargetNeeds
  public let policy: PolicyDocument
  private let userRoles: [String]
  private let policyName: String

  public init(_ needs: TargetNeeds, userRoles: [String], policyName: String) throws {
    self.needs = needs
    self.userRoles = userRoles
    self.policyName = policyName
    policy = try needs.policy(userRoles: userRoles)
  }

  public var boundary: PolicyDocument { needs.boundary }
  private var target: BootstrapTarget { needs.target }
  private var targetWords: String {
    target.name.isEmpty ? "the role or user that the Database Service runs as" : target.description
  }

  /// As it stands in a trust policy; capitals for what is not known.
  private var targetARN: String {
    if let arn = target.arn { return arn }
    let kind = if case .user = target.identity { "user" } else { "role" }
    let name = target.name.isEmpty ? "DATABASE-SERVICE-\(kind.uppercased())" : target.name
    return "arn:\(target.partition.rawValue):iam::\(target.account ?? "ACCOUNT"):\(kind)/\(name)"
  }

  public var text: String {
    var steps: [String] = []
    let hasPolicy = !policy.statements.isEmpty
    if hasPolicy { steps.append("Create the policy \(policyName):\n\n\(policy.json)\n") }
    steps.append("Create the policy \(policyName)Boundary, for use as a permissions boundary:\n\n\(boundary.json)\n")
    if hasPolicy { steps.append("Attach \(policyName) to \(targetWords).\n") }
    steps.append(
      "Set \(policyName)Boundary as the permissions boundary of \(targetWords). Under a boundary only what it names stays "
        + "allowed, whatever else is attached.\n")
    steps += trustSteps
    let numbered = steps.enumerated().map { "\($0.offset + 1). \($0.element)" }
    return
      ([
        "Permissions of \(targetWords)" + (needs.isAssumed ? ", for \(needs.names.joined(separator: ", ")):" : ":")
          + "\n"
      ]
      + numbered + notes).joined(separator: "\n")
  }

  private var trustSteps: [String] {
    let byExternalID = Dictionary(grouping: needs.firstHops.keys) { needs.firstHops[$0] ?? nil }
    let hops = byExternalID.mapValues { $0.map(\.description).sorted() }.sorted { $0.value[0] < $1.value[0] }
    var steps = hops.map { id, roles in trustStep(roles.joined(separator: ", "), externalID: id) }
    if needs.needsUserRoles {
      let roles = userRoles.isEmpty ? "each role that users connect as" : userRoles.sorted().joined(separator: ", ")
      steps.append(trustStep(roles, externalID: nil))
      steps.append(
        "See to it that the same roles are allowed redshift-serverless:GetCredentials on the workgroup by a permission "
          + "policy of theirs.\n")
    }
    return steps
  }

  private func trustStep(_ roles: String, externalID: String?) -> String {
    "See to it that the trust policy of \(roles) lets \(targetWords) assume it:\n\n"
      + "\(TrustPolicy.json(trusting: targetARN, externalID: externalID))\n"
  }

  private var notes: [String] {
    guard needs.needsUserRoles, userRoles.isEmpty else { return [] }
    return [
      "NOTE: Which roles users connect as is not in the configuration. Roles of the same account whose trust policy names "
        + "\(targetARN) need no policy; name all others with --assumes-roles, by name or ARN."
    ]
  }
}
