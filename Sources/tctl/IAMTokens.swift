import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// How a host proves that it may join with a token.
enum TokenMethod: String, ExpressibleByArgument, CaseIterable {
  case token, iam
}

/// The options of `tctl tokens add` for tokens of method `iam`.
struct IAMTokenOptions: ParsableArguments {
  @Option(
    name: [.customLong("join-method"), .customLong("method")], help: "token, or iam: by the host's AWS identity.")
  var joinMethod = TokenMethod.token
  @Option(help: "The token's name, with method iam.") var name: String?
  @Option(help: "The account whose identities may join, with method iam.") var awsAccount: String?
  @Option(
    help: "An ARN that may join, with * and ?, such as arn:aws:sts::111122223333:assumed-role/ROLE/*; repeatable.")
  var awsArn: [String] = []

  func refuseWithoutMethod() throws {
    guard name == nil, awsAccount == nil, awsArn.isEmpty else {
      throw ToolError("--name, --aws-account and --aws-arn go with --join-method=iam")
    }
  }

  func add(roles: [String], ttlSeconds: Int?, _ format: OutputFormat?, _ client: APIClient) async throws {
    guard let name else {
      throw ToolError("a token of method iam needs a name", hint: "give --name=NAME; it is no secret")
    }
    let rules =
      awsArn.isEmpty
      ? [AWSJoinRule(account: awsAccount, arn: nil)] : awsArn.map { AWSJoinRule(account: awsAccount, arn: $0) }
    let token = TokenResource(
      name: name, expires: ttlSeconds.map { Date() + Double($0) }, spec: .init(roles: roles, allow: rules))
    do {
      try token.validate()
    } catch let error as RoleError {
      throw ToolError(error.description)
    }
    _ = try await client.put(token, .absent)
    switch format {
    case .text: print(token.name)
    case .json, .yaml: print(try Terminal.formatted(token, format ?? .json))
    case nil:
      print(
        "Token '\(token.name)' lets AWS identities join.\n\nIn teleport.yaml of the hosts that shall join:\n\n"
          + "  join_params: {method: iam, token_name: \(token.name)}\n")
    }
  }
}
