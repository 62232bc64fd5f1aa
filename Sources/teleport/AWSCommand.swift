import AWS
import ArgumentParser
import Foundation

/// `teleport aws ...`.
struct AWSCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "aws", abstract: "See this host as AWS sees it.", subcommands: [WhoAmI.self])
}

struct WhoAmI: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "whoami",
    abstract: "Find this host's AWS credentials as the database service does, and ask AWS whose they are.")

  @Option(help: "text or json.") var format: Format = .text

  enum Format: String, ExpressibleByArgument { case text, json }

  private struct Answer: Encodable {
    let source: String
    let accessKeyID: String
    let expires: Date?
    let region: String
    let account: String
    let arn: String

    enum CodingKeys: String, CodingKey {
      case source
      case accessKeyID = "access_key_id"
      case expires, region, account, arn
    }
  }

  func run() async throws {
    let environment = AWSEnvironment()
    do {
      try show(try await ask(environment))
    } catch let error as CredentialsError {
      throw Failure(error.description + (error.mend.map { " (\($0))" } ?? ""))
    } catch let error as AWSError {
      throw Failure(error.details + (error.mend.map { " (\($0))" } ?? ""))
    }
  }

  private func ask(_ environment: AWSEnvironment) async throws -> Answer {
    let found = try await CredentialChain(environment: environment).find()
    let region = try await environment.discoverRegion(for: found)
    let identity = try await STSClient(caller: AWSCaller(environment: environment), region: region)
      .callerIdentity(found.credentials)
    return Answer(
      source: found.report.source, accessKeyID: found.report.accessKeyID, expires: found.report.expiration,
      region: region, account: identity.account, arn: identity.arn)
  }

  private func show(_ answer: Answer) throws {
    if format == .json {
      let encoder = JSONEncoder()
      encoder.dateEncodingStrategy = .iso8601
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
      print(String(decoding: try encoder.encode(answer), as: UTF8.self))
    } else {
      print("Source         \(answer.source)")
      print("Access key id  \(answer.accessKeyID)")
      print("Expires        \(answer.expires?.formatted(.iso8601) ?? "never")")
      print("Region         \(answer.region)")
      print("Account        \(answer.account)")
      print("ARN            \(answer.arn)")
    }
  }
}
