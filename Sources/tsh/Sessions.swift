import ArgumentParser
import ControlAPI
import ControlClient

/// `tsh sessions`.
struct Sessions: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Database sessions that run now.", subcommands: [List.self])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "ls", abstract: "List your own sessions; those of all, if your roles let you list events.")
    @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text
    @OptionGroup var common: CommonOptions

    func run() async throws {
      try await runTool {
        let credentials = try common.credentials()
        let answer: SessionListings = try await credentials.withClient(insecure: common.insecure) {
          try await $0.get("/v1/sessions")
        }
        try SessionTable.show(answer, format)
      }
    }
  }
}
