import ArgumentParser
import ControlClient
import Doctor
import Foundation

/// `tsh db doctor`.
struct DatabaseDoctor: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Look at each link of your way to a database.",
    discussion: """
      From the login on this host to the first query, through the proxy. What stands behind the proxy is seen by 'teleport db
      doctor' on the Database Service's host; what it refuses is shown in its own words. Stores nothing. Ends with exit code 1
      if a link is broken.
      """)

  @Argument(help: "Name of the database; the only one logged in to if left out.") var name: String?
  @OptionGroup var route: RouteOptions
  @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text
  @OptionGroup var common: CommonOptions

  func run() async throws {
    try await runTool {
      let report = try await WayToDatabase(route: route, common: common).examine(try named())
      print(format == .text ? Terminal.safeLines(report.text) : try Terminal.formatted(report, format))
      guard report.isHealthy else { throw ExitCode.failure }
    }
  }

  /// An expired login still tells which.
  private func named() throws -> String {
    if let name { return name }
    let stored = try ProfileStore().find(proxy: common.proxy).map { try DatabaseAccess.stored($0) } ?? []
    guard let only = stored.first, stored.count == 1 else {
      throw ToolError("which database?", hint: "name one; see 'tsh db ls'")
    }
    return only.name
  }
}
