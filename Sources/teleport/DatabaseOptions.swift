import ArgumentParser
import AuthService
import ConfigurationFile
import ControlAPI
import Foundation

/// A Database Service with one database, as flags say it.
struct DatabaseOptions: ParsableArguments {
  @Option(help: "Name of the database in the cluster.") var name: String?
  @Option(help: "Protocol of the database: postgres.") var `protocol`: String?
  @Option(help: "HOST:PORT of the database.") var uri: String?
  @Option(
    name: [.customLong("proxy"), .customLong("auth-server")], help: "HOST:PORT of the cluster's proxy or Auth Service.")
  var proxy: String?
  @Option(help: "Join token or the file that holds it; with --join-method=iam its name.") var token: String?
  @Option(help: "token, or iam: by this host's AWS identity.") var joinMethod = JoinMethod.token
  @Option(help: "sha256:... of the cluster's CA, as 'tctl status' prints it; may be repeated.") var caPin: [String] = []
  @Option(help: "Description shown in listings.") var description: String?
  @Option(help: "Labels, k=v,k=v.") var labels: String?
  @Option(help: "Also serve the cluster's 'db' resources with these labels, k=v,k=v; may be repeated.")
  var dynamicResourcesLabels: [String] = []
  @Option(help: "Find and serve workgroups of Redshift Serverless in this AWS region; may be repeated.")
  var redshiftServerlessDiscovery: [String] = []
  @Option(help: "Find and serve provisioned clusters of Redshift in this AWS region; may be repeated.")
  var redshiftDiscovery: [String] = []
  @Option(help: "Find only what has these tags in AWS, k=v,k=v.") var awsTags: String?
  @Option(name: .customLong("ca-cert"), help: "CA certificate file to trust the database by.") var caFile: String?
  @Option(help: "AWS region.") var awsRegion: String?
  @Option(help: "AWS account id.") var awsAccountID: String?
  @Option(help: "Role to assume first.") var awsAssumeRoleARN: String?
  @Option(help: "External ID for that role.") var awsExternalID: String?
  @Option(name: .customLong("aws-redshift-serverless-workgroup-name"), help: "Workgroup name.") var workgroup: String?
  @Option(name: .customLong("aws-redshift-cluster-id"), help: "Cluster identifier, of a provisioned cluster.")
  var clusterID: String?
  @Option(help: "Directory of the state.") var dataDir = "/var/lib/teleport"

  /// Whether any flag says something about the database or how to join.
  var isEmpty: Bool {
    [
      name, `protocol`, uri, proxy, token, description, labels, caFile, awsRegion, awsAccountID, awsAssumeRoleARN,
      awsExternalID, workgroup, clusterID, awsTags,
    ].allSatisfy { $0 == nil } && caPin.isEmpty && findsNothing
  }

  /// No database is served but the one that flags describe.
  private var findsNothing: Bool {
    dynamicResourcesLabels.isEmpty && redshiftServerlessDiscovery.isEmpty && redshiftDiscovery.isEmpty
  }

  /// The text of a configuration file that says the same.
  func configurationText() throws -> String {
    var writer = ConfigurationWriter()
    if findsNothing || [name, `protocol`, uri].contains(where: { $0 != nil }) {
      guard try needed(`protocol`, "--protocol") == "postgres" else { throw Failure("--protocol must be 'postgres'") }
      writer.name = try needed(name, "--name")
      writer.uri = try needed(uri, "--uri")
    }
    writer.description = description
    writer.proxy = try needed(proxy, "--proxy")
    let token = try needed(token, "--token")
    let isFile = joinMethod == .token && !token.hasPrefix("/") && FileManager.default.fileExists(atPath: token)
    writer.token = isFile ? absolute(token) : token
    writer.joinMethod = joinMethod
    writer.caPins = caPin
    writer.dataDirectory = dataDir
    writer.caFile = caFile.map(absolute)
    writer.workgroup = workgroup
    writer.clusterID = clusterID
    writer.aws = [
      ("region", awsRegion), ("account_id", awsAccountID), ("assume_role_arn", awsAssumeRoleARN),
      ("external_id", awsExternalID),
    ].compactMap { key, value in value.map { (key, $0) } }
    writer.labels = try Self.pairs(labels ?? "", of: "--labels")
    writer.resources = try dynamicResourcesLabels.map { try Self.pairs($0, of: "--dynamic-resources-labels") }
    writer.discovery = [
      (type: .redshiftServerless, regions: Self.list(redshiftServerlessDiscovery)),
      (type: .redshift, regions: Self.list(redshiftDiscovery)),
    ].filter { (_: DatabaseType, regions: [String]) in !regions.isEmpty }
    writer.discoveryTags = try Self.pairs(awsTags ?? "", of: "--aws-tags")
    writer.holdsCluster = AuthServer.hasState(in: dataDir)
    do {
      return try writer.text()
    } catch let error as ConfigurationError {
      throw Failure(error.description)
    }
  }

  /// Repeated options of which each may be a list itself, as Teleport's examples write them.
  private static func list(_ values: [String]) -> [String] {
    values.flatMap { $0.split(separator: ",") }.map { $0.trimmingCharacters(in: .whitespaces) }
  }

  private static func pairs(_ text: String, of flag: String) throws -> [String: String] {
    try text.split(separator: ",").reduce(into: [:]) { pairs, pair in
      let parts = pair.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { throw Failure("\(flag) must be k=v,k=v") }
      pairs[parts[0]] = parts[1]
    }
  }

  private func needed(_ value: String?, _ flag: String) throws -> String {
    guard let value, !value.isEmpty else { throw Failure("\(flag) is needed; see --help") }
    return value
  }

  private func absolute(_ path: String) -> String { URL(fileURLWithPath: path).path }
}

extension JoinMethod: ExpressibleByArgument {}
