import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// The users' tool.
@main
struct Tsh: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tsh", abstract: "Log in to a Sallyport cluster and connect to its databases.",
    subcommands: [Login.self, Logout.self, Status.self, Database.self, Version.self])
}

struct Version: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Print the version.")
  func run() { print("Sallyport tsh v\(sallyportVersion)") }
}

/// What every command takes.
struct CommonOptions: ParsableArguments {
  @Flag(help: "Do not verify the proxy's certificate; for test clusters only.") var insecure = false
}
