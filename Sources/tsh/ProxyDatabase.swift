import ArgumentParser
import ControlClient
import Foundation
import Glibc
import LocalProxy
import Reactor

/// `tsh proxy ...`.
struct Proxy: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Local proxies for programs that cannot use certificates.", subcommands: [ProxyDatabase.self])
}

struct ProxyDatabase: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "db", abstract: "Run a local proxy for a database until ctrl-C.")

  @Argument(help: "Name of the database; the only one logged in to if left out.") var name: String?
  @Flag(help: "Authenticate here: local clients need no certificate and no TLS.") var tunnel = false
  @Option(name: .shortAndLong, help: "Port to listen on; any free one if left out.") var port: UInt16?
  @Option(help: "ADDRESS:PORT to listen on instead of 127.0.0.1.") var listen: String?
  @OptionGroup var route: RouteOptions
  @OptionGroup var common: CommonOptions

  func run() async throws {
    try await runTool {
      let credentials = try common.credentials()
      let name = try name ?? DatabaseAccess.session(nil, credentials.profile).database.name
      let address = try listenAddress()
      signal(SIGPIPE, SIG_IGN)
      raiseDescriptorLimit()
      let running: RunningLocalProxy
      do {
        running =
          tunnel
          ? try await startTunnel(name, on: address, credentials)
          : try await startPassThrough(name, on: address, credentials)
      } catch let error as SystemError {
        throw ToolError("cannot listen on \(address): \(error)", hint: "choose another with --port, or none for any")
      }
      // A pipe would keep it back until it is full.
      fflush(nil)
      await StopSignals.first()
      running.stop()
    }
  }

  private func listenAddress() throws -> SocketAddress {
    let loopback = "127.0.0.1"
    let address: SocketAddress?
    if let listen {
      guard port == nil else { throw ToolError("--listen and --port exclude each other") }
      let colon = listen.lastIndex(of: ":")
      let host = colon.map { String(listen[..<$0]).trimmingCharacters(in: CharacterSet(charactersIn: "[]")) }
      let number = colon.flatMap { UInt16(listen[listen.index(after: $0)...]) }
      address = number.flatMap { SocketAddress(ip: host ?? loopback, port: $0) }
    } else {
      address = SocketAddress(ip: loopback, port: port ?? 0)
    }
    guard let address else { throw ToolError("--listen is ADDRESS:PORT, as in 127.0.0.1:5432") }
    if tunnel, !address.host.hasPrefix("127."), address.host != "::1" {
      FileHandle.standardError.write(
        Data("WARNING: whoever reaches \(address) uses the database as you, without a password\n".utf8))
    }
    return address
  }

  private func startTunnel(
    _ name: String, on address: SocketAddress, _ credentials: Credentials
  ) async throws -> RunningLocalProxy {
    let source = try TunnelSource(credentials, name: name, route: route, options: common)
    try await source.start(credentials)
    let running = try LocalProxy.start(
      on: address, settings: .init(mode: .tunnel(user: route.dbUser, database: route.dbName)), source: source)
    let settings = [
      ("host", running.address.host), ("port", "\(running.address.port)"), ("user", route.dbUser ?? "USER"),
      ("dbname", route.dbName ?? "NAME"),
    ]
    announce(running, settings.map { (key: $0.0, value: $0.1) }, "It authenticates for you: connect with")
    return running
  }

  private func startPassThrough(
    _ name: String, on address: SocketAddress, _ credentials: Credentials
  ) async throws -> RunningLocalProxy {
    let session = try await DatabaseAccess.logIn(
      name, user: route.dbUser, database: route.dbName, credentials, insecure: common.insecure)
    let running = try LocalProxy.start(
      on: address, settings: .init(mode: .passThrough),
      source: PassThroughSource(address: try ProxyAddress(credentials.profile.proxy)))
    // The certificate is for the proxy's name: libpq checks `host` and dials `hostaddr`.
    let settings = session.settings.flatMap { setting -> [(key: String, value: String)] in
      switch setting.key {
      case "host": [setting, (key: "hostaddr", value: running.address.host)]
      case "port": [(key: "port", value: "\(running.address.port)")]
      default: [setting]
      }
    }
    announce(running, settings, "Connect with the certificate of 'tsh db login'")
    return running
  }

  private func announce(_ running: RunningLocalProxy, _ settings: [(key: String, value: String)], _ how: String) {
    print("Started DB proxy on \(running.address)\n\n\(how):\n\n  psql \"\(ConnectionString.text(settings))\"\n")
  }

  private func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}
