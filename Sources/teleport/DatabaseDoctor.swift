import AWS
import AWSDoctor
import AccessControl
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
      Run it on the database service's host, with the service's environment; the service need not run, except for a database
      that was made with 'tctl create', of which only the cluster knows.
      It walks the way of a login, from the AWS credentials to the first query, and says for each broken link how to mend it.
      Ends with exit code 1 if a link is broken.
      """)

  @Argument(help: "Name of the database, in teleport.yaml or in the cluster.") var name: String
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
    var findings: [Finding] = []
    func report(_ last: [Finding]) -> Report {
      Report(database: name, databaseUser: dbUser, databaseName: dbName, findings: findings + last)
    }
    let subject = try await find()
    guard let configuration = subject.configuration else { return report([subject.cluster]) }
    let database: ServedDatabase
    let login: DatabaseLogin?
    do {
      database = try ServedDatabase(configuration)
      login = try database.login(user: dbUser, database: dbName)
    } catch {
      let mend =
        (error as? AWSError)?.mend ?? "Mend teleport.yaml or the db resource; docs/configuration.md has each key."
      return report([.broken(.configuration, "\(error)", mend: [mend]), subject.cluster])
    }
    findings += [.works(.configuration, database.summary), subject.cluster]
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
    return report(probe.examine(login: user))
  }

  /// The database's configuration, from teleport.yaml or from the cluster, and what the cluster has to do with it;
  /// `nil`: this host does not serve it.
  private func find() async throws -> (configuration: DatabaseConfiguration?, cluster: Finding) {
    do {
      let path = TeleportConfiguration.path(explicit: config, environment: ProcessInfo.processInfo.environment)
      let configuration = try TeleportConfiguration.load(path: path)
      let own = configuration.databases.first { $0.name == name }
      let cluster: ClusterAtHand?
      do {
        cluster = try await ClusterAtHand.ask(configuration)
      } catch {
        guard let own else { throw missing(configuration, "the cluster, which may have it, does not answer: \(error)") }
        return (own, ClusterAtHand.unreachable(error))
      }
      guard let cluster else {
        let outside = "this host is not part of a cluster yet"
        guard let own else { throw missing(configuration, outside) }
        return (own, .skipped(.cluster, "not asked: \(outside)"))
      }
      if let own { return (own, cluster.finding(name, uri: own.uri, isDynamic: false)) }
      guard let resource = cluster.resource(named: name) else {
        throw missing(configuration, "cluster '\(cluster.name)' has no db/\(name) either")
      }
      guard let dynamic = try DatabaseConfiguration(resource, matchers: configuration.databaseMatchers) else {
        return (nil, cluster.unmatched(resource))
      }
      return (dynamic, cluster.finding(name, uri: dynamic.uri, isDynamic: true))
    } catch let error as ConfigurationError {
      throw Failure(error.description)
    } catch let error as RoleError {
      throw Failure("db/\(name) cannot be read: \(error.description)")
    }
  }

  private func missing(_ configuration: TeleportConfiguration, _ elsewhere: String) -> Failure {
    let names = configuration.databases.map(\.name).joined(separator: ", ")
    return Failure("teleport.yaml has no database '\(name)'; it has: \(names.isEmpty ? "none" : names); \(elsewhere)")
  }
}
