import ArgumentParser
import ConfigurationFile
import ControlAPI
import ControlClient
import Foundation
import PKI
import TextForms

/// The administrators' tool.
@main
struct Tctl: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tctl", abstract: "Administer a Sallyport cluster.",
    subcommands: [
      Status.self, Create.self, Get.self, Edit.self, Remove.self, Users.self, Tokens.self, Databases.self, Auth.self,
      Audit.self, LockCommand.self, Sessions.self, Inventory.self, Version.self,
    ])
}

struct Version: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Print the version.")
  func run() { print("Sallyport tctl v\(sallyportVersion)") }
}

/// How tctl reaches the cluster: as the local administrator on the cluster's own host, else as the user of tsh.
struct ConnectionOptions: ParsableArguments {
  @Option(name: [.short, .long], help: "teleport.yaml of the cluster on this host.") var config: String?
  @Option(
    name: .shortAndLong, help: "Identity file to act with, from 'tsh login --out'; default TELEPORT_IDENTITY_FILE.")
  var identity: String?
  @Option(help: "HOST[:PORT] of the proxy; default TELEPORT_AUTH_SERVER or TELEPORT_PROXY, then the login of tsh.")
  var authServer: String?
  @Flag(help: "Do not verify the proxy's certificate; for test clusters only.") var insecure = false
  @Flag(name: .shortAndLong, help: "Show on stderr what the tool does; also TELEPORT_DEBUG=1.") var debug = false

  mutating func validate() throws {
    func variable(_ name: String) -> String? {
      ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
    }
    identity = identity ?? variable("TELEPORT_IDENTITY_FILE")
    authServer = authServer ?? variable("TELEPORT_AUTH_SERVER") ?? variable("TELEPORT_PROXY")
    if debug || ["1", "true", "yes"].contains(variable("TELEPORT_DEBUG")?.lowercased()) { DebugLog.turnOn() }
  }

  /// Runs `body` with a client; the connection is closed whatever happens.
  func withClient(_ body: @escaping (APIClient) async throws -> Void) async throws {
    try await runTool {
      let client = try makeClient()
      do {
        try await body(client)
      } catch {
        await client.shutDown()
        throw error
      }
      await client.shutDown()
    }
  }

  private func makeClient() throws -> APIClient {
    if let identity {
      return try Credentials(identityFile: identity, proxy: authServer).makeClient(insecure: insecure)
    }
    let path = TeleportConfiguration.path(explicit: config, environment: ProcessInfo.processInfo.environment)
    let configuration = try TeleportConfiguration.load(path: path)
    if let administrator = try LocalAdministrator(dataDirectory: configuration.dataDirectory) {
      return try administrator.makeClient(address: configuration.localAddress, insecure: insecure)
    }
    return try Credentials(stored: ProfileStore(), proxy: authServer, user: nil).makeClient(insecure: insecure)
  }
}

struct Status: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show the cluster's name, version, CA pins and rotations.")
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    try await connection.withClient { client in
      let status: ClusterStatus = try await client.get("/v1/status")
      print("Cluster " + Terminal.safe(status.clusterName))
      print("Version " + Terminal.safe(status.version))
      for pin in status.caPins { print("CA pin  " + Terminal.safe(pin)) }
      for authority in status.authorities { print(authority.line) }
    }
  }
}
