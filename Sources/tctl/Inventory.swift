import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// `tctl inventory ...`.
struct Inventory: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Hosts of the cluster.", subcommands: [List.self])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "ls", abstract: "List the hosts whose certificates are good.")
    @Option(help: "text, json or yaml.") var format = OutputFormat.text
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        let hosts: [HostListing] = try await client.get("/v1/inventory")
        guard format == .text else { return print(try Terminal.formatted(hosts, format)) }
        let dates = ISO8601DateFormatter()
        print(
          Terminal.table(
            ["Server ID", "Hostname", "Services", "Version", "Last Seen", "Certificate Expires", "Lock"],
            hosts.map { host in
              [
                host.hostID, host.name, host.services.joined(separator: ","), host.version,
                dates.string(from: host.lastSeen), dates.string(from: host.certificateExpires), host.lock ?? "",
              ]
            }))
      }
    }
  }
}
