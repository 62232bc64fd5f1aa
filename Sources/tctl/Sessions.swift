import ArgumentParser
import ControlAPI
import ControlClient

/// `tctl sessions`.
struct Sessions: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Database sessions that run now.", subcommands: [List.self])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "ls", abstract: "List the database sessions of the whole cluster, a second or two old.")
    @Option(help: "text, json or yaml.") var format = OutputFormat.text
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        try SessionTable.show(try await client.get("/v1/sessions"), format)
      }
    }
  }
}
