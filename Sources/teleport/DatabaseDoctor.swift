import AWS
import AWSDoctor
import ArgumentParser
import ControlClient
import DatabaseService
import Doctor

/// `teleport db doctor`.
struct DatabaseDoctor: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Look at each link of the way to a database.",
    discussion: """
      Run it on the database service's host, with the service's environment; the service need not run, except for a database
      that was made with 'tctl create', of which only the cluster knows. Databases that db_service.aws finds are looked for.
      It walks the way of a login, from the AWS credentials to the first query, and says for each broken link how to mend it.
      Ends with exit code 1 if a link is broken.
      """)

  @Argument(help: "Name of the database, in teleport.yaml or in the cluster, also of one that is found in AWS.")
  var name: String
  @Option(help: "Database user to log in as, as in 'tsh db connect'.") var dbUser: String
  @Option(help: "Database name to log in to.") var dbName = "dev"
  @Option(name: .shortAndLong, help: "Configuration file; default: TELEPORT_CONFIG_FILE, /etc/teleport.yaml.")
  var config: String?
  @Option(help: "text, json or yaml.") var format = OutputFormat.text

  func run() async throws {
    let report = try await examine()
    print(format == .text ? Terminal.safeLines(report.text) : try Terminal.formatted(report, format))
    guard report.isHealthy else { throw ExitCode.failure }
  }

  private func examine() async throws -> Report {
    var findings: [Finding] = []
    func report(_ last: [Finding]) -> Report {
      Report(database: name, databaseUser: dbUser, databaseName: dbName, findings: findings + last)
    }
    let subject = try await DoctorSubject.find(name, config: config)
    guard let configuration = subject.configuration else { return report(subject.findings) }
    let database: ServedDatabase
    let login: DatabaseLogin?
    do {
      database = try ServedDatabase(configuration)
      login = try database.login(user: dbUser, database: dbName)
    } catch {
      let mend =
        (error as? AWSError)?.mend ?? "Mend teleport.yaml or the db resource; docs/configuration.md has each key."
      return report([.broken(.configuration, "\(error)", mend: [mend])] + subject.findings)
    }
    findings += [.works(.configuration, database.summary)] + subject.findings
    var user: PostgresProbe.Login? = .init(user: dbUser, database: dbName, password: nil)
    if let login {
      let access = await AccessProbe(login, environment: AWSEnvironment()).examine()
      findings += access.findings
      user = access.credentials.map { .init(user: $0.user, database: dbName, password: $0.password) }
    }
    let (host, port, serverName, tls) = database.endpoint
    let probe = PostgresProbe(.database, host: host, port: port, serverName: serverName, tls: tls) {
      try Resolver.addresses(host: host, port: port)
    }
    return report(probe.examine(login: user))
  }
}
