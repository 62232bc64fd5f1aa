import AWS

/// A policy that this command makes, and what IAM has under its name.
struct ManagedPolicy: Sendable {
  enum Purpose: Sendable { case permissions, boundary }

  let purpose: Purpose
  let name: String
  let arn: String
  let document: PolicyDocument

  var description: String { (purpose == .permissions ? "policy " : "boundary ") + name }

  /// As IAM has it at the moment.
  struct Found: Sendable {
    let tags: [String: String]
    let document: String
    /// The latest first.
    let versions: [IAMClient.PolicyVersion]
  }
}

/// One change to make in IAM.
enum BootstrapStep: Sendable {
  case create(ManagedPolicy)
  /// Makes room first, if the policy has as many versions as it may have.
  case update(ManagedPolicy, dropping: String?)
  case attach(ManagedPolicy)
  case setBoundary(ManagedPolicy)

  /// In the imperative, as plans and errors put it.
  func words(_ target: BootstrapTarget) -> String {
    switch self {
    case .create(let policy): "create the \(policy.description)"
    case .update(let policy, let version):
      "update the \(policy.description)" + (version.map { ", dropping its version \($0)" } ?? "")
    case .attach(let policy): "attach the \(policy.description) to \(target.description)"
    case .setBoundary(let policy): "set the \(policy.description) as permissions boundary of \(target.description)"
    }
  }
}

/// What has to change in IAM so that a target is allowed what it needs. Made without AWS from what was found there.
public struct BootstrapPlan: Sendable {
  /// Marks policies as made here: its value says for which target.
  static let tagKey = "sallyport:bootstrap-target"
  /// IAM keeps that many versions of a policy.
  private static let maximumVersions = 5

  public let target: BootstrapTarget
  let policies: [ManagedPolicy]
  let steps: [BootstrapStep]
  /// What else the person ought to know.
  public let notes: [String]

  public var isEmpty: Bool { steps.isEmpty }

  /// The target as IAM has it.
  struct FoundTarget: Sendable {
    let attached: [String]
    let inline: [String]
    let boundary: String?
  }

  /// - Parameter policies: with what IAM has under their ARNs; `nil`: nothing.
  /// - Throws: `BootstrapError` for a policy of that name that was not made here, or was made for another target.
  init(
    target: BootstrapTarget, permissions: (ManagedPolicy, ManagedPolicy.Found?),
    boundary: (ManagedPolicy, ManagedPolicy.Found?), found: FoundTarget, attaches: Bool = true
  ) throws {
    self.target = target
    var notes: [String] = []
    var steps = try Self.write(permissions.0, over: permissions.1, for: target)
    if attaches, !found.attached.contains(permissions.0.arn) { steps.append(.attach(permissions.0)) }
    if attaches, let other = found.boundary, other != boundary.0.arn {
      policies = [permissions.0]
      notes.append(
        "The permissions boundary of \(target.description), \(other), was not made by this command and stays as it is. See "
          + "to it that it allows: \(boundary.0.document.allActions).")
    } else {
      policies = [permissions.0, boundary.0]
      steps += try Self.write(boundary.0, over: boundary.1, for: target)
      if attaches, found.boundary == nil {
        steps.append(.setBoundary(boundary.0))
        let others = found.attached.filter { $0 != permissions.0.arn } + found.inline
        if !others.isEmpty {
          notes.append(
            "\(target.description) has other policies (\(others.sorted().joined(separator: ", "))). Under the boundary only "
              + "what it names stays allowed.")
        }
      }
    }
    self.steps = steps
    self.notes = notes
  }

  private static func write(
    _ policy: ManagedPolicy, over found: ManagedPolicy.Found?, for target: BootstrapTarget
  ) throws -> [BootstrapStep] {
    guard let found else { return [.create(policy)] }
    let otherName = "Choose another name with --policy-name, or --name of create-iam"
    guard let owner = found.tags[tagKey] else {
      throw BootstrapError(
        "there is a policy \(policy.arn) that was not made by this command, and stays as it is",
        mend: "\(otherName), or hand it over by the tag \(tagKey)=\(target.tagValue).")
    }
    guard owner == target.tagValue else {
      throw BootstrapError(
        "the policy \(policy.arn) was made for \(owner); changing it would change what that may do",
        mend: "\(otherName).")
    }
    guard PolicyDocument(json: found.document) != policy.document else { return [] }
    let isFull = found.versions.count >= maximumVersions
    return [.update(policy, dropping: isFull ? found.versions.last { !$0.isDefault }?.id : nil)]
  }

  /// The steps and documents, as the person is asked to agree to them.
  public var text: String {
    let numbered = steps.enumerated().map { "  \($0.offset + 1). \(Self.sentence($0.element.words(target)))" }
    let documents = policies.filter { policy in steps.contains { $0.writes(policy) } }.map { policy in
      "\(Self.sentence(policy.description))\n\(policy.document.json)\n"
    }
    return
      (["In account \(target.account ?? "") this will:"] + numbered + [""] + documents + notes.map { "NOTE: \($0)\n" })
      .joined(separator: "\n")
  }

  /// What there is to say if nothing has to change.
  public var nothingToDo: String {
    "Nothing to do: \(target.description) has what it needs ("
      + policies.map(\.description).joined(separator: ", ") + ")."
  }

  static func sentence(_ words: String) -> String { words.prefix(1).uppercased() + words.dropFirst() }
}

extension BootstrapStep {
  fileprivate func writes(_ policy: ManagedPolicy) -> Bool {
    switch self {
    case .create(let written), .update(let written, _): written.arn == policy.arn
    case .attach, .setBoundary: false
    }
  }
}

extension PolicyDocument {
  /// Every action with its resources, in words.
  var allActions: String {
    statements.map { "\($0.actions.joined(separator: ", ")) on \($0.resources.joined(separator: ", "))" }
      .joined(separator: "; ")
  }
}
