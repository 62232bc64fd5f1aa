import AWS
import AWSBootstrap
import ConfigurationFile
import ControlClient
import Foundation

/// What the commands have in common that give permissions in IAM.
struct IAMCommand {
  /// Name or ARN; neither this nor `user`: the identity of the credentials.
  let role: String?
  let user: String?
  let assumesRoles: RoleNames
  /// `nil`: the default's.
  let policyName: String?

  /// Plans, shows, asks and applies.
  ///
  /// - Parameter findsRoles: without named roles those of the account that trust the target are taken.
  func apply(_ needs: [AccessNeed], isConfirmed: Bool, findsRoles: Bool, attaches: Bool = true) async throws {
    let bootstrapper = try await Bootstrapper(environment: AWSEnvironment())
    let target = try await bootstrapper.target(role.map { .role($0) } ?? user.map { .user($0) } ?? .caller)
    let share = TargetNeeds(needs, of: target)
    var roles = try assumesRoles.arns(account: target.account, partition: target.partition)
    if roles.isEmpty, findsRoles, share.needsUserRoles {
      roles = try await bootstrapper.rolesTrusting(target)
      if roles.isEmpty { try complain(share) }
    }
    let plan = try await bootstrapper.plan(
      share, userRoles: roles, policyName: name(for: share), attaches: attaches)
    guard !plan.isEmpty else {
      print(plan.nothingToDo)
      for note in plan.notes { print("NOTE: \(note)") }
      return
    }
    print(Terminal.safe(scope(share)))
    print(plan.text)
    guard try isConfirmed || ask() else { throw Failure("stopped; nothing has been changed") }
    try await bootstrapper.apply(plan) { print($0) }
  }

  /// - Throws: unless there is something else to give: the target would be able to do nothing.
  private func complain(_ share: TargetNeeds) throws {
    guard try share.policy(userRoles: []).statements.isEmpty else { return }
    throw BootstrapError(
      "users of \(share.names.joined(separator: ", ")) connect as IAM roles, and no role of account "
        + "\(share.target.account ?? "") has a trust policy that names \(share.target.arn ?? "")",
      mend: "Let their trust policy name it as Principal for sts:AssumeRole, or name the roles with --assumes-roles.")
  }

  /// Steps to follow by hand.
  ///
  /// - Parameter account: of roles without ARN; `nil`: the databases'.
  func instructions(_ needs: [AccessNeed], account: BootstrapTarget.Account? = nil) throws -> ManualInstructions {
    let target = try namedTarget(likely: account ?? needs.first.map { ($0.account, $0.partition) })
    let share = TargetNeeds(needs, of: target)
    let roles = try assumesRoles.arns(account: target.account, partition: target.partition)
    return try ManualInstructions(share, userRoles: roles, policyName: name(for: share))
  }

  /// The target as far as it is named, without asking AWS: its account is that of the databases.
  private func namedTarget(likely place: BootstrapTarget.Account?) throws -> BootstrapTarget {
    let partition = place?.partition ?? .standard
    if let text = role ?? user {
      if text.hasPrefix("arn:") { return try BootstrapTarget(arn: text) }
      let identity = role == nil ? IAMClient.Identity.user(text) : .role(text)
      return BootstrapTarget(identity: identity, account: place?.number, partition: partition)
    }
    return BootstrapTarget(identity: .role(""), account: place?.number, partition: partition)
  }

  /// The account that roles without ARN belong to, if there are some: AWS says whose the credentials are.
  func accountOfBareNames() async throws -> BootstrapTarget.Account? {
    guard assumesRoles.haveBareNames, !(role ?? user ?? "").hasPrefix("arn:") else { return nil }
    return try await Bootstrapper(environment: AWSEnvironment()).account
  }

  private func name(for share: TargetNeeds) -> String {
    policyName ?? (Bootstrapper.defaultPolicyName + (share.isAssumed ? "-\(share.target.name)" : ""))
  }

  private func scope(_ share: TargetNeeds) -> String {
    let target = "\(share.target.description) (\(share.target.arn ?? ""))"
    return share.isAssumed
      ? "Permissions of \(target), through which \(share.names.joined(separator: ", ")) \(share.names.count == 1 ? "is" : "are") reached"
      : "Permissions of \(target), as the database service's own identity"
  }

  private func ask() throws -> Bool {
    guard isatty(STDIN_FILENO) == 1 else {
      throw Failure(
        "there is nobody to ask: stdin is not a terminal; nothing has been changed (agree beforehand with --confirm)")
    }
    let answer = try Prompt.ask("Go ahead? [y/N] ", isShown: true, mend: "Agree beforehand with --confirm.")
    return ["y", "yes"].contains(answer.revealText()?.lowercased())
  }

  /// Runs a command; what AWS and IAM say becomes one line with its mend.
  static func reportingErrors(_ body: () async throws -> Void) async throws {
    do {
      try await body()
    } catch let error as CredentialsError {
      throw Failure(error.description + (error.mend.map { " (\($0))" } ?? ""))
    } catch let error as AWSError {
      throw Failure(error.details + (error.mend.map { " (\($0))" } ?? ""))
    } catch let error as BootstrapError {
      throw Failure(error.description)
    } catch let error as ConfigurationError {
      throw Failure(error.description)
    } catch let error as ToolError {
      throw Failure("\(error)")
    }
  }
}
