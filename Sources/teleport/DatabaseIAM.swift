import AWS
import AWSBootstrap
import ArgumentParser
import ControlAPI

/// `teleport db configure aws ...`: permissions by kinds of databases, without a configuration file.
struct DatabaseConfigureAWS: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "aws", abstract: "IAM policies for kinds of databases.",
    subcommands: [DatabasePrintIAM.self, DatabaseCreateIAM.self])
}

/// Whose permissions, and for what.
struct IAMOptions: ParsableArguments {
  @Option(
    name: [.customShort("r"), .long], help: "Kinds of databases, of redshift and redshift-serverless, comma-separated.")
  var types: String
  @Option(help: "Name or ARN of the role to attach to.") var role: String?
  @Option(help: "Name or ARN of the user to attach to.") var user: String?
  @Option(help: "Roles that database users stand for, names or ARNs, comma-separated.") var assumesRoles: String?

  func validate() throws {
    guard role == nil || user == nil else { throw ValidationError("--role and --user exclude each other") }
    _ = try needs()
  }

  func needs() throws -> [AccessNeed] {
    let names = types.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
    let known = try names.map { name in
      guard let type = DatabaseType(rawValue: name) else {
        let all = DatabaseType.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("--types: '\(name)' is none of \(all)")
      }
      return type
    }
    guard !known.isEmpty else { throw ValidationError("--types names nothing") }
    return [
      AccessNeed(
        name: "databases of type \(names.joined(separator: ", "))", kind: .discovery(Set(known)), account: nil,
        partition: .standard)
    ]
  }

  func command(policyName: String?) -> IAMCommand {
    IAMCommand(role: role, user: user, assumesRoles: RoleNames(assumesRoles), policyName: policyName)
  }
}

struct DatabasePrintIAM: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "print-iam",
    abstract: "Print the policies and how to use them; needs no AWS but for roles without ARN.")

  @OptionGroup var options: IAMOptions
  @Flag(help: "Print the policy document only.") var policy = false
  @Flag(help: "Print the permissions boundary's document only.") var boundary = false

  func validate() throws {
    guard !policy || !boundary else { throw ValidationError("--policy and --boundary exclude each other") }
  }

  func run() async throws {
    try await IAMCommand.reportingErrors {
      let command = options.command(policyName: nil)
      let account = try await command.accountOfBareNames()
      let instructions = try command.instructions(try options.needs(), account: account)
      print(policy ? instructions.policy.json : boundary ? instructions.boundary.json : instructions.text)
    }
  }
}

struct DatabaseCreateIAM: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create-iam", abstract: "Make the policies and attach them.")

  @OptionGroup var options: IAMOptions
  @Option(help: "Name of the policy.") var name = Bootstrapper.defaultPolicyName
  @Flag(inversion: .prefixedNo, help: "Attach the policies as well.") var attach = true
  @Flag(help: "Do not ask.") var confirm = false

  func run() async throws {
    try await IAMCommand.reportingErrors {
      try await options.command(policyName: name)
        .apply(try options.needs(), isConfirmed: confirm, findsRoles: false, attaches: attach)
    }
  }
}
