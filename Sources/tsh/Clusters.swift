import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

struct Clusters: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show the cluster that the login is for.")

  @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text
  @Flag(name: .shortAndLong, help: "Leave the header out.") var quiet = false
  @OptionGroup var common: CommonOptions

  private struct Row: Encodable {
    let name: String
    let status: String
    let type: String
    let selected: Bool

    enum CodingKeys: String, CodingKey {
      case name = "cluster_name"
      case status
      case type = "cluster_type"
      case selected
    }
  }

  func run() async throws {
    try await runTool {
      let credentials = try common.credentials()
      // An answer is what makes it online.
      let ping: Ping = try await credentials.withClient(insecure: common.insecure) {
        try await $0.get("/v1/webapi/ping")
      }
      let row = Row(name: ping.clusterName, status: "online", type: "root", selected: true)
      guard format == .text else { return print(try Terminal.formatted([row], format)) }
      guard !quiet else { return print(Terminal.safe(row.name)) }
      print(
        Terminal.table(
          ["Cluster Name", "Status", "Cluster Type", "Selected"], [[row.name, row.status, row.type, "*"]]))
    }
  }
}

struct Version: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Print the versions of this tool and of the cluster.")

  @Flag(help: "This tool's version only.") var client = false
  @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text
  @OptionGroup var common: CommonOptions

  private struct Versions: Encodable {
    let version: String
    let proxyVersion: String?
    let proxy: String?
  }

  func run() async throws {
    try await runTool {
      let server = client ? nil : try await serverVersion()
      guard format == .text else {
        let versions = Versions(version: sallyportVersion, proxyVersion: server?.version, proxy: server?.proxy)
        return print(try Terminal.formatted(versions, format))
      }
      print("Sallyport tsh v\(sallyportVersion)")
      if let server {
        print("Proxy version: v\(Terminal.safe(server.version))\nProxy: \(Terminal.safe(server.proxy))")
      }
    }
  }

  /// The cluster's version, if a cluster is known; one that does not answer is a warning, since the own version is told.
  private func serverVersion() async throws -> (version: String, proxy: String)? {
    let store = ProfileStore()
    let profile = try store.find(proxy: common.proxy)
    guard let proxy = common.proxy ?? profile?.proxy else { return nil }
    let address = try ProxyAddress(proxy).description
    let ca = try profile.map { [try store.identity($0).hostCAPEM] } ?? []
    do {
      let ping: Ping = try await APIClient(address: address, trustedCAPEMs: ca, insecure: common.insecure).closing {
        try await $0.get("/v1/webapi/ping")
      }
      return (ping.serverVersion, address)
    } catch {
      FileHandle.standardError.write(Data("WARNING: \(Terminal.safe("\(error)"))\n".utf8))
      return nil
    }
  }
}
