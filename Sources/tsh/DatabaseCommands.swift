import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// `tsh db ...`.
struct Database: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "db", abstract: "List, log in to and connect to databases.",
    subcommands: [List.self, DatabaseLogin.self, DatabaseLogout.self, Connect.self, Config.self, Env.self])
}

extension Database {
  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "ls", abstract: "List the databases you can reach.")

    @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text
    @Option(help: "Show only databases whose name, description or labels contain this text.") var search: String?
    @OptionGroup var common: CommonOptions

    private struct Resource: Encodable {
      struct Metadata: Encodable {
        let name: String
        let description: String
        let labels: [String: String]
      }
      struct Spec: Encodable {
        let `protocol`: String
        let uri: String
      }
      struct Users: Encodable { let allowed: [String] }
      let kind = "db"
      let version = "v3"
      let metadata: Metadata
      let spec: Spec
      let users: Users
    }

    func run() async throws {
      try await runTool {
        let (databases, profile) = try await DatabaseAccess.list(insecure: common.insecure)
        let shown = databases.filter { database in
          guard let search else { return true }
          return ([database.name, database.description] + database.labels.map { "\($0.key)=\($0.value)" })
            .contains { $0.localizedCaseInsensitiveContains(search) }
        }
        guard format == .text else {
          let resources = shown.map {
            Resource(
              metadata: .init(name: $0.name, description: $0.description, labels: $0.labels),
              spec: .init(protocol: $0.protocol, uri: $0.uri), users: .init(allowed: $0.allowedUsers))
          }
          return print(try Terminal.formatted(resources, format))
        }
        let loggedIn = Set(profile.databases.map(\.name))
        let rows = shown.map { database in
          [
            (loggedIn.contains(database.name) ? "> " : "") + database.name, database.description,
            "[\(database.allowedUsers.joined(separator: " "))]",
            database.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ","),
            loggedIn.contains(database.name) ? "tsh db connect \(database.name)" : "",
          ]
        }
        print(Terminal.table(["Name", "Description", "Allowed Users", "Labels", "Connect"], rows))
      }
    }
  }
}

/// Which database, user and name a command is about.
struct DatabaseOptions: ParsableArguments {
  @Argument(help: "Name of the database, as 'tsh db ls' shows it.") var name: String
  @Option(help: "Database user.") var dbUser: String?
  @Option(help: "Database name.") var dbName: String?
}

struct DatabaseLogin: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "login", abstract: "Store a certificate for a database.")

  @OptionGroup var database: DatabaseOptions
  @OptionGroup var common: CommonOptions

  func run() async throws {
    try await runTool {
      let session = try await DatabaseAccess.logIn(database, insecure: common.insecure)
      print("Connection information for database \"\(session.entry.name)\" has been saved.\n")
      print(
        "You can now connect to it using this command:\n\n  tsh db connect --db-user=\(session.entry.user) --db-name=\(session.entry.database) \(session.entry.name)\n"
      )
      print("or set the environment of your own program:\n\n  eval \"$(tsh db env \(session.entry.name))\"\n")
    }
  }
}

struct DatabaseLogout: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logout", abstract: "Remove the certificate of one or all databases.")

  @Argument(help: "Name of the database; all if left out.") var name: String?

  func run() async throws {
    try await runTool {
      let store = ProfileStore()
      var profile = try store.current()
      let leaving = profile.databases.filter { name == nil || $0.name == name }
      if let name, leaving.isEmpty { throw ToolError("not logged in to database '\(name)'", hint: "see 'tsh db ls'") }
      for entry in leaving { try store.removeDatabase(profile, entry.name) }
      profile.databases.removeAll { entry in leaving.contains { $0.name == entry.name } }
      try store.save(profile)
      print(name.map { "Logged out of database \($0)" } ?? "Logged out of all databases")
    }
  }
}

struct Connect: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "connect", abstract: "Run psql on a database; arguments after -- go to psql.")

  @OptionGroup var database: DatabaseOptions
  @OptionGroup var common: CommonOptions
  @Argument(parsing: .postTerminator, help: "Arguments for psql.") var psqlArguments: [String] = []

  func run() async throws {
    try await runTool {
      let session = try await DatabaseAccess.logIn(database, insecure: common.insecure)
      throw try Psql.run(environment: session.environment, arguments: psqlArguments)
    }
  }
}

struct Config: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show how to connect to a database with your own program.")

  @Argument(help: "Name of the database; the only one logged in to if left out.") var name: String?
  @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text

  func run() async throws {
    try await runTool {
      let session = try DatabaseAccess.stored(name)
      let fields = [
        ("Name", session.entry.name), ("Host", session.profile.host), ("Port", session.profile.port),
        ("User", session.entry.user), ("Database", session.entry.database), ("CA", session.files.ca),
        ("Cert", session.files.certificate), ("Key", session.files.key),
      ]
      guard format == .text else {
        return print(
          try Terminal.formatted(Dictionary(fields.map { ($0.0.lowercased(), $0.1) }) { first, _ in first }, format))
      }
      for (key, value) in fields {
        print((key + ":").padding(toLength: 11, withPad: " ", startingAt: 0) + Terminal.safe(value))
      }
    }
  }
}

struct Env: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Print environment variables for libpq programs.")

  @Argument(help: "Name of the database; the only one logged in to if left out.") var name: String?
  @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text

  func run() async throws {
    try await runTool {
      let environment = try DatabaseAccess.stored(name).environment
      guard format == .text else { return print(try Terminal.formatted(environment, format)) }
      for (key, value) in environment.sorted(by: { $0.key < $1.key }) {
        print("export \(key)='\(value.replacing("'", with: "'\\''"))'")
      }
    }
  }
}
