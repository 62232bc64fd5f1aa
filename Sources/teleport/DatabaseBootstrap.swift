import AWS
import AWSBootstrap
import ArgumentParser
import ConfigurationFile
import ControlClient
import DatabaseService
import Foundation

/// `teleport db configure bootstrap`.
struct DatabaseBootstrap: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bootstrap",
    abstract: "Give the database service the AWS permissions that its configuration needs.",
    discussion: """
      Reads the configuration, shows which IAM policy and permissions boundary its databases need, and finding databases \
      does, and after a question makes them and attaches them.
      Run it once for the role or user that the service runs as, and once for each role that \
      is an assume_role_arn.
      """)

  @Option(name: .shortAndLong, help: "Configuration file; default: TELEPORT_CONFIG_FILE, /etc/teleport.yaml.")
  var config: String?
  @Flag(help: "Print what to do by hand instead; needs no AWS.") var manual = false
  @Option(help: "Name of the policy; default: DatabaseAccess, for the role of an assume_role_arn DatabaseAccess-ROLE.")
  var policyName: String?
  @Flag(help: "Do not ask.") var confirm = false
  @Option(help: "Name or ARN of the role to attach to; default: the identity of the AWS credentials.")
  var attachToRole: String?
  @Option(help: "Name or ARN of the user to attach to.") var attachToUser: String?
  @Option(
    help: "Roles that database users stand for, names or ARNs, comma-separated; default: those that trust the target.")
  var assumesRoles: String?

  func validate() throws {
    guard attachToRole == nil || attachToUser == nil else {
      throw ValidationError("--attach-to-role and --attach-to-user exclude each other")
    }
  }

  func run() async throws {
    try await IAMCommand.reportingErrors {
      let needs = try readNeeds()
      let command = IAMCommand(
        role: attachToRole, user: attachToUser, assumesRoles: RoleNames(assumesRoles), policyName: policyName)
      if manual {
        print(try command.instructions(needs).text)
      } else {
        try await command.apply(needs, isConfirmed: confirm, findsRoles: true)
      }
    }
  }

  private func readNeeds() throws -> [AccessNeed] {
    guard let path = TeleportConfiguration.path(explicit: config, environment: ProcessInfo.processInfo.environment)
    else {
      throw Failure("there is no /etc/teleport.yaml; name the configuration with -c")
    }
    let configuration = try TeleportConfiguration.load(path: path)
    var needs = try configuration.databases.compactMap { database -> AccessNeed? in
      guard let access = try RedshiftAccess(database) else { return nil }
      let kind: AccessNeed.Kind =
        switch access.target {
        case .workgroup: .workgroup
        case .cluster(let id): .cluster(id: id, region: access.region, account: access.account)
        }
      return AccessNeed(
        name: "database '\(database.name)'", kind: kind, account: access.account,
        partition: Partition(region: access.region), assumeRole: access.assumeRole, externalID: access.externalID)
    }
    needs += try configuration.awsMatchers.map { try need(of: $0, isServed: true) }
    needs += try configuration.discovery.matchers.map { try need(of: $0, isServed: false) }
    guard !needs.isEmpty else {
      throw Failure("\(path) has no database of Redshift and looks for none: it needs no AWS permissions")
    }
    return needs
  }

  /// What a Discovery Service finds others serve.
  private func need(of matcher: AWSMatcher, isServed: Bool) throws -> AccessNeed {
    let role = try matcher.assumeRoleARN.map { try RoleARN($0) }
    let types = matcher.types.map(\.rawValue).joined(separator: ", ")
    return AccessNeed(
      name: "\(types) databases found in \(matcher.regions.joined(separator: ", "))",
      kind: .discovery(Set(matcher.types), isServed: isServed), account: role?.account,
      partition: Partition(region: matcher.regions.first ?? ""), assumeRole: role, externalID: matcher.externalID)
  }
}
