import ArgumentParser
import AuthService
import ConfigurationFile
import Foundation

/// `teleport db ...`.
struct Database: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "db", abstract: "Set up the database service.", subcommands: [DatabaseConfigure.self])
}

struct DatabaseConfigure: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "configure", abstract: "Make its configuration, and the AWS permissions for it.",
    subcommands: [DatabaseConfigureCreate.self, DatabaseBootstrap.self, DatabaseConfigureAWS.self])
}

struct DatabaseConfigureCreate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Write a configuration with one database for 'teleport start'.")

  @Option(name: .shortAndLong, help: "'file' (/etc/teleport.yaml), 'stdout' or a path.") var output = "stdout"
  @Option(help: "Name of the database in the cluster.") var name: String
  @Option(help: "Protocol of the database.") var `protocol`: String
  @Option(help: "HOST:PORT of the database.") var uri: String
  @Option(help: "HOST:PORT of the cluster's proxy.") var proxy: String
  @Option(help: "Join token, or the file that holds it.") var token: String
  @Option(help: "sha256:... of the cluster's CA, as 'tctl status' prints it; may be repeated.") var caPin: [String] = []
  @Option(help: "Description shown in listings.") var description: String?
  @Option(help: "Labels, k=v,k=v.") var labels: String?
  @Option(name: .customLong("ca-cert"), help: "CA certificate file to trust the database by.") var caFile: String?
  @Option(help: "AWS region.") var awsRegion: String?
  @Option(help: "AWS account id.") var awsAccountID: String?
  @Option(help: "Role to assume first.") var awsAssumeRoleARN: String?
  @Option(help: "External ID for that role.") var awsExternalID: String?
  @Option(name: .customLong("aws-redshift-serverless-workgroup-name"), help: "Workgroup name.") var workgroup: String?
  @Option(help: "Directory of the state.") var dataDir = "/var/lib/teleport"

  func run() throws {
    guard `protocol` == "postgres" else { throw Failure("--protocol must be 'postgres'") }
    var writer = ConfigurationWriter()
    writer.name = name
    writer.description = description
    writer.uri = uri
    writer.proxy = proxy
    writer.token = token.hasPrefix("/") || !FileManager.default.fileExists(atPath: token) ? token : absolute(token)
    writer.caPins = caPin
    writer.dataDirectory = dataDir
    writer.caFile = caFile.map(absolute)
    writer.workgroup = workgroup
    writer.aws = [
      ("region", awsRegion), ("account_id", awsAccountID), ("assume_role_arn", awsAssumeRoleARN),
      ("external_id", awsExternalID),
    ].compactMap { key, value in value.map { (key, $0) } }
    for pair in (labels ?? "").split(separator: ",") {
      let parts = pair.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { throw Failure("--labels must be k=v,k=v") }
      writer.labels[parts[0]] = parts[1]
    }
    writer.holdsCluster = AuthServer.hasState(in: dataDir)
    let text: String
    do {
      text = try writer.text()
    } catch let error as ConfigurationError {
      throw Failure(error.description)
    }
    try OutputFile(output).write(text)
  }

  private func absolute(_ path: String) -> String { URL(fileURLWithPath: path).path }
}
