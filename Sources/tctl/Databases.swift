import ArgumentParser
import ControlAPI
import ControlClient

/// `tctl db ...`.
struct Databases: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "db", abstract: "Databases.", subcommands: [List.self, Explain.self])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "ls", abstract: "List all databases that are served, and dynamic ones that are not.")
    @Option(help: "text, json or yaml.") var format = OutputFormat.text
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        let databases: [DatabaseListing] = try await client.get("/v1/databases")
        guard format == .text else { return print(try Terminal.formatted(databases, format)) }
        let served = Set(databases.map(\.name))
        let idle = try await dynamic(client).filter { !served.contains($0.name) }
        print(
          Terminal.table(
            ["Name", "Protocol", "URI", "Labels", "Origin"],
            databases.map { database in
              [
                database.name, database.protocol, database.uri, Databases.text(labels: database.labels),
                database.origin ?? "",
              ]
            }
              + idle.map { database in
                [
                  database.name, database.spec.protocol, database.spec.uri,
                  Databases.text(labels: database.metadata.labels ?? [:]),
                  database.isDiscovered ? "cloud, not served" : "dynamic, not served",
                ]
              }))
      }
    }

    /// Those that are resources of the cluster; none for users who may not list them all.
    private func dynamic(_ client: APIClient) async throws -> [DatabaseResource] {
      do {
        return try await client.get("/v1/resources/\(DatabaseResource.kind)")
      } catch let error as ToolError where error.status == 403 {
        return []
      }
    }
  }

  static func text(labels: [String: String]) -> String {
    labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
  }
}
