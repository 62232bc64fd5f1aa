import AWS
import AWSDoctor
import ArgumentParser
import ConfigurationFile
import ControlClient
import DatabaseService
import Doctor
import Foundation

/// `teleport db doctor`.
struct DatabaseDoctor: AsyncParsableCommand {
  enum Format: String, ExpressibleByArgument { case text, json }

  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Look at each link of the way to a database.",
    discussion: """
      Run it on the database service's host, with the service's environment; the service need not run.
      It walks the way of a login, from the AWS credentials to the first query, and says for each broken link how to mend it.
      Ends with exit code 1 if a link is broken.
      """)

  @Argument(help: "Name of the database in teleport.yaml.") var name: String
  @Option(help: "Database user to log in as, as in 'tsh db connect'.") var dbUser: String
  @Option(help: "Database name to log in to.") var dbName = "dev"
  @Option(name: .shortAndLong, help: "Configuration file; default: TELEPORT_CONFIG_FILE, /etc/teleport.yaml.")
  var config: String?
  @Option(help: "text or json.") var format = Format.text

  func run() async throws {
    let report = try await examine()
    switch format {
    case .text:
      print(
        report.text.split(separator: "\n", omittingEmptySubsequences: false).map { Terminal.safe(String($0)) }.joined(
          separator: "\n"))
    case .json:
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
      print(String(decoding: try encoder.encode(report), as: UTF8.self))
    }
    guard report.isHealthy else { throw ExitCode.failure }
  }

  private func examine() async throws -> Report {
    let configuration: DatabaseConfiguration
    do {
      let path = TeleportConfiguration.path(explicit: config, environment: ProcessInfo.processInfo.environment)
      let databases = try TeleportConfiguration.load(path: path).databases
      guard let found = databases.first(where: { $0.name == name }) else {
        let names = databases.map(\.name).joined(separator: ", ")
        throw Failure("teleport.yaml has no database '\(name)'; it has: \(names.isEmpty ? "none" : names)")
      }
      configuration = found
    } catch let error as ConfigurationError {
      throw Failure(error.description)
    }
    func report(_ findings: [Finding]) -> Report {
      Report(database: name, databaseUser: dbUser, databaseName: dbName, findings: findings)
    }
    let database: ServedDatabase
    let login: DatabaseLogin?
    do {
      database = try ServedDatabase(configuration)
      login = try database.login(user: dbUser, database: dbName)
    } catch {
      let mend = (error as? AWSError)?.mend.map { [$0] } ?? ["Mend teleport.yaml; docs/configuration.md has every key."]
      return report([.broken(.configuration, "\(error)", mend: mend)])
    }
    var findings: [Finding] = [.works(.configuration, database.summary)]
    var user: DatabaseProbe.Login? = .init(user: dbUser, database: dbName, password: nil)
    if let login {
      let access = await AccessProbe(login, environment: AWSEnvironment()).examine()
      findings += access.findings
      user = access.credentials.map { .init(user: $0.user, database: dbName, password: $0.password) }
    }
    let (host, port, serverName, tls) = database.endpoint
    let probe = DatabaseProbe(host: host, port: port, serverName: serverName, tls: tls) {
      try Resolver.addresses(host: host, port: port)
    }
    return report(findings + probe.examine(login: user))
  }
}

extension ServedDatabase {
  fileprivate var summary: String {
    guard let account, let region else { return "\(uri), without AWS" }
    return "\(uri), \(workgroup.map { "workgroup '\($0)' of " } ?? "")account \(account) in \(region)"
  }
}
