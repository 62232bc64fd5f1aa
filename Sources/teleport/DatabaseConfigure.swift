import ArgumentParser

/// `teleport db ...`.
struct Database: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "db", abstract: "Set up and run the database service.",
    subcommands: [DatabaseStart.self, DatabaseConfigure.self, DatabaseDoctor.self])
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
  @OptionGroup var database: DatabaseOptions

  func run() throws { try OutputFile(output).write(try database.configurationText()) }
}
