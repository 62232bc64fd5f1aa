import ArgumentParser
import ControlAPI
import ControlClient
import Foundation
import TextForms

/// `tsh db ...`.
struct Database: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "db", abstract: "List, log in to and connect to databases.",
    subcommands: [
      DatabaseList.self, DatabaseLogin.self, DatabaseLogout.self, Connect.self, Config.self, Env.self, Execute.self,
      DatabaseDoctor.self,
    ])
}

/// As whom and where in a database.
struct RouteOptions: ParsableArguments {
  @Option(name: [.long, .customShort("u")], help: "Database user.") var dbUser: String?
  @Option(name: [.long, .customShort("n")], help: "Database name.") var dbName: String?
}

struct DatabaseLogin: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "login", abstract: "Store a certificate for a database.")

  @Argument(help: "Name of the database, as 'tsh db ls' shows it.") var name: String
  @OptionGroup var route: RouteOptions
  @Option(name: .shortAndLong, help: "Write key, certificate and CA to this one file instead, for other programs.")
  var out: String?
  @Flag(help: "Replace that file if it is there.") var overwrite = false
  @OptionGroup var common: CommonOptions

  func run() async throws {
    try await runTool {
      let credentials = try common.credentials()
      if let out { return try await write(to: out, credentials) }
      let session = try await DatabaseAccess.logIn(
        name, user: route.dbUser, database: route.dbName, credentials, insecure: common.insecure)
      try PostgresServiceFile().set(session.serviceName, session.settings)
      print(
        """
        Connection information for database "\(session.database.name)" has been saved.

        You can now connect to it using one of these commands:

          tsh db connect \(session.database.name)
          psql service=\(session.serviceName)

        or set the environment of your own program:

          eval "$(tsh db env \(session.database.name))"

        """)
    }
  }

  private func write(to path: String, _ credentials: Credentials) async throws {
    let issued = try await DatabaseAccess.issue(
      name, user: route.dbUser, database: route.dbName, credentials, insecure: common.insecure)
    try IdentityFile(identity: issued.identity, hostCAPEM: issued.hostCAPEM).write(to: path, overwrite: overwrite)
    let file = DatabaseFiles(certificate: path, key: path, ca: path)
    let session = DatabaseSession(
      profile: credentials.profile,
      database: StoredDatabase(
        name: issued.name, user: issued.user, database: issued.database, validUntil: issued.validUntil, files: file))
    print("Key, certificate and CA have been written to \(path), valid until \(issued.validUntil.ISO8601Format()).\n")
    print("  psql \"\(ConnectionString.text(session.settings))\"\n")
  }
}

struct DatabaseLogout: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logout", abstract: "Remove the certificate of one or all databases.")

  @Argument(help: "Name of the database; all if left out.") var name: String?
  @OptionGroup var common: CommonOptions

  func run() async throws {
    try await runTool {
      let profile = try common.profile()
      let leaving = try DatabaseAccess.stored(profile).filter { name == nil || $0.name == name }
      if let name, leaving.isEmpty { throw ToolError("not logged in to database '\(name)'", hint: "see 'tsh db ls'") }
      try DatabaseAccess.logOut(of: leaving, profile)
      print(name.map { "Logged out of database \($0)" } ?? "Logged out of all databases")
    }
  }
}

struct Connect: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "connect", abstract: "Run psql on a database; arguments after -- go to psql.")

  @Argument(help: "Name of the database; the only one logged in to if left out.") var name: String?
  @OptionGroup var route: RouteOptions
  @OptionGroup var common: CommonOptions
  @Argument(parsing: .postTerminator, help: "Arguments for psql.") var psqlArguments: [String] = []

  func run() async throws {
    try await runTool {
      let credentials = try common.credentials()
      let name = try name ?? DatabaseAccess.session(nil, credentials.profile).database.name
      let session = try await DatabaseAccess.logIn(
        name, user: route.dbUser, database: route.dbName, credentials, insecure: common.insecure)
      throw try Psql.run(environment: session.environment, arguments: psqlArguments)
    }
  }
}

struct Config: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show how to connect to a database with your own program.")

  /// `cmd` is the command line of psql.
  enum Format: String, ExpressibleByArgument { case text, cmd, json, yaml }

  @Argument(help: "Name of the database; the only one logged in to if left out.") var name: String?
  @Option(name: .shortAndLong, help: "text, cmd, json or yaml.") var format = Format.text
  @OptionGroup var common: CommonOptions

  func run() async throws {
    try await runTool {
      let session = try DatabaseAccess.session(name, try common.profile())
      let database = session.database
      let fields = [
        ("Name", database.name), ("Host", session.profile.host), ("Port", session.profile.port),
        ("User", database.user ?? ""), ("Database", database.database ?? ""), ("CA", database.files.ca),
        ("Cert", database.files.certificate), ("Key", database.files.key),
      ]
      switch format {
      case .cmd: print("psql \"\(ConnectionString.text(session.settings))\"")
      case .json, .yaml:
        let values = Dictionary(fields.map { ($0.0.lowercased(), $0.1) }) { first, _ in first }
        print(try Terminal.formatted(values, format == .json ? .json : .yaml))
      case .text:
        for (key, value) in fields {
          print((key + ":").padding(toLength: 11, withPad: " ", startingAt: 0) + Terminal.safe(value))
        }
      }
    }
  }
}

struct Env: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Print environment variables for libpq programs.")

  @Argument(help: "Name of the database; the only one logged in to if left out.") var name: String?
  @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text
  @OptionGroup var common: CommonOptions

  func run() async throws {
    try await runTool {
      let environment = try DatabaseAccess.session(name, try common.profile()).environment
      guard format == .text else { return print(try Terminal.formatted(environment, format)) }
      for (key, value) in environment.sorted(by: { $0.key < $1.key }) {
        print("export \(key)=\(ShellWord.quoted(value))")
      }
    }
  }
}

/// libpq's `key=value` strings
/// ([libpq-connstring](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING)).
enum ConnectionString {
  /// Values that need quotes get them, with a backslash before quotes and backslashes.
  static func text(_ settings: [(key: String, value: String)]) -> String {
    settings.map { key, value in
      let isPlain = !value.isEmpty && value.allSatisfy { !$0.isWhitespace && !"'\\\"$`!".contains($0) }
      return isPlain
        ? "\(key)=\(value)"
        : "\(key)='\(value.replacing("\\", with: "\\\\").replacing("'", with: "\\'"))'"
    }.joined(separator: " ")
  }
}
