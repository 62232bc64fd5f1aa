import ArgumentParser
import ControlAPI
import ControlClient
import Foundation
import PKI
import Secrets
import TextForms

struct Login: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Log in and store a short-lived certificate.")

  @Option(help: "HOST[:PORT] of the proxy; default TELEPORT_PROXY.") var proxy: String?
  @Option(help: "User name; default TELEPORT_USER.") var user: String?
  @Option(help: "Minutes the login shall last.") var ttl: Int?
  @Option(help: "Read the password from a file, or from stdin with '-'.") var passwordFile: String?
  @OptionGroup var common: CommonOptions

  private static let defaultPort: UInt16 = 3080
  /// A year, in minutes.
  private static let longestTTL = 366 * 24 * 60

  func run() async throws {
    try await runTool {
      let environment = ProcessInfo.processInfo.environment
      guard let proxy = proxy ?? environment["TELEPORT_PROXY"] else {
        throw ToolError("no proxy given", hint: "use --proxy=HOST:PORT")
      }
      guard let user = user ?? environment["TELEPORT_USER"] else {
        throw ToolError("no user given", hint: "use --user=NAME")
      }
      guard let address = HostPort(proxy, defaultPort: Self.defaultPort)?.description else {
        throw ToolError("'\(proxy)' is not a proxy's address", hint: "write HOST:PORT or [IPv6]:PORT")
      }
      let seconds = try ttl.map { minutes in
        // The cluster's roles decide in the end; this only keeps the sum in bounds.
        guard (1...Self.longestTTL).contains(minutes) else {
          throw ToolError("--ttl must be from 1 to \(Self.longestTTL) minutes")
        }
        return minutes * 60
      }
      if common.insecure {
        FileHandle.standardError.write(Data("WARNING: the proxy's certificate is not verified\n".utf8))
      }
      let client = try APIClient(address: address, insecure: common.insecure)
      // Told before the password is typed: a wrong address or an untrusted certificate.
      let ping: Ping
      let response: LoginResponse
      let key = KeyPair.generate()
      do {
        ping = try await client.get("/v1/webapi/ping")
        let password =
          try passwordFile.map(Terminal.readPasswordFile)
          ?? Terminal.readPassword("Enter password for Teleport user \(Terminal.safe(user)): ")
        let request = LoginRequest(
          username: user, password: password.revealText() ?? "",
          signingRequestPEM: try key.signingRequestPEM(commonName: user),
          ttlSeconds: seconds)
        response = try await client.post("/v1/webapi/login", request)
      } catch {
        await client.shutDown()
        throw error
      }
      await client.shutDown()
      let store = ProfileStore()
      let profile = Profile(
        proxy: address, user: response.username, cluster: ping.clusterName, roles: response.roles,
        traits: response.traits,
        validUntil: response.validUntil)
      try store.save(
        ClientIdentity(certificatePEM: response.certificatePEM, keyPEM: key.pem), hostCAPEM: response.hostCAPEM,
        for: profile)
      try store.save(profile)
      print(Status.text(profile))
    }
  }
}

struct Logout: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Remove all stored certificates and keys.")

  func run() async throws {
    try await runTool {
      try ProfileStore().removeAll()
      print("Logged out all users from all proxies.")
    }
  }
}

struct Status: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show who is logged in, where and until when.")

  @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text

  private struct Listing: Encodable {
    struct Active: Encodable {
      let profileURL: String
      let username: String
      let cluster: String
      let roles: [String]
      let traits: [String: [String]]
      let databases: [String]
      let validUntil: Date

      enum CodingKeys: String, CodingKey {
        case profileURL = "profile_url"
        case username, cluster, roles, traits, databases
        case validUntil = "valid_until"
      }
    }
    let active: Active
    let profiles: [Active]
  }

  func run() async throws {
    try await runTool {
      let profile = try ProfileStore().current()
      guard format != .text else { return print(Self.text(profile)) }
      let active = Listing.Active(
        profileURL: "https://\(profile.proxy)", username: profile.user, cluster: profile.cluster, roles: profile.roles,
        traits: profile.traits, databases: profile.databases.map(\.name), validUntil: profile.validUntil)
      print(try Terminal.formatted(Listing(active: active, profiles: []), format))
    }
  }

  static func text(_ profile: Profile) -> String {
    let minutes = max(0, Int(profile.validUntil.timeIntervalSinceNow / 60))
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.dateFormat = "yyyy-MM-dd HH:mm:ss Z"
    let fields = [
      ("> Profile URL:", "https://\(profile.proxy)"), ("  Logged in as:", profile.user),
      ("  Cluster:", profile.cluster),
      ("  Roles:", profile.roles.joined(separator: ", ")),
      ("  Databases:", profile.databases.map(\.name).joined(separator: ", ")),
      ("  Valid until:", "\(formatter.string(from: profile.validUntil)) [valid for \(minutes / 60)h\(minutes % 60)m]"),
    ]
    return fields.filter { !$0.1.isEmpty }
      .map { $0.0.padding(toLength: 20, withPad: " ", startingAt: 0) + Terminal.safe($0.1) }.joined(separator: "\n")
  }
}
