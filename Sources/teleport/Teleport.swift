import ArgumentParser
import ControlAPI

/// The server: auth, proxy and database service in one process.
@main
struct Teleport: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "teleport", abstract: "Sallyport's server: secure access to Redshift Serverless and Postgres.",
    subcommands: [
      Start.self, Configure.self, Database.self, DiscoveryCommand.self, AWSCommand.self, Status.self, Version.self,
    ])
}

struct Version: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Print the version.")
  func run() { print("Sallyport teleport v\(sallyportVersion)") }
}
