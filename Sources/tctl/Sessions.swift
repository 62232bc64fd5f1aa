import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// `tctl sessions`.
struct Sessions: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Database sessions that run now.", subcommands: [List.self, Remove.self])

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

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "rm", abstract: "End a database session.")
    @Argument(help: "Its ID, as 'tctl sessions ls' shows it.") var id: String
    @Option(help: "Shown to whose session it is.") var message: String?
    @OptionGroup var connection: ConnectionOptions

    /// By then it has reached every host that is there; the session's ID is never used again.
    private static let lockLifetime: TimeInterval = 60

    func run() async throws {
      try await connection.withClient { client in
        let running: SessionListings = try await client.get("/v1/sessions")
        guard running.sessions.contains(where: { $0.id == id }) || running.total > running.sessions.count else {
          throw ToolError("no session '\(id)' runs", hint: "see 'tctl sessions ls'")
        }
        let lock = Lock(
          name: UUID().uuidString.lowercased(),
          spec: .init(target: .init(session: id), message: message, expires: Date() + Self.lockLifetime))
        _ = try await client.put(lock, .absent)
        print("Session \(id) is ended.")
      }
    }
  }
}
