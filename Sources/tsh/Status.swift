import ArgumentParser
import ControlClient
import Foundation

struct Status: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show who is logged in, where and until when.")

  @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text
  @OptionGroup var common: CommonOptions

  private struct Listing: Encodable {
    struct Login: Encodable {
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

      init(_ profile: Profile) throws {
        profileURL = "https://\(profile.proxy)"
        username = profile.user
        cluster = profile.cluster
        roles = profile.roles
        traits = profile.traits
        databases = try ProfileStore().databases(profile).map(\.name)
        validUntil = profile.validUntil
      }
    }
    let active: Login?
    let profiles: [Login]
  }

  func run() async throws {
    try await runTool {
      let store = ProfileStore()
      let active =
        try common.identity.map { try Credentials(identityFile: $0, proxy: common.proxy).profile }
        ?? store.find(proxy: common.proxy)
      let others = try common.identity == nil ? store.all().filter { $0.name != active?.name } : []
      guard active != nil || !others.isEmpty else { throw notLoggedIn }
      if format == .text {
        let texts = (active.map { [Self.text($0, isCurrent: true)] } ?? []) + others.map { Self.text($0) }
        print(texts.joined(separator: "\n\n"))
      } else {
        let listing = Listing(active: try active.map(Listing.Login.init), profiles: try others.map(Listing.Login.init))
        print(try Terminal.formatted(listing, format))
      }
      guard let active else { throw notLoggedIn }
      guard active.validUntil > Date() else { throw active.expired }
    }
  }

  private var notLoggedIn: ToolError {
    ToolError("not logged in", hint: "run: tsh login --proxy=\(common.proxy ?? "HOST:PORT") --user=NAME")
  }

  static func text(_ profile: Profile, isCurrent: Bool = false) -> String {
    let left = profile.validUntil.timeIntervalSinceNow
    let minutes = Int(max(0, min(left, 1e9)) / 60)
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.dateFormat = "yyyy-MM-dd HH:mm:ss Z"
    let databases = (try? ProfileStore().databases(profile).map(\.name)) ?? []
    let remaining = left > 0 ? "valid for \(minutes / 60)h\(minutes % 60)m" : "EXPIRED"
    let fields = [
      ("\(isCurrent ? ">" : " ") Profile URL:", "https://\(profile.proxy)"), ("  Logged in as:", profile.user),
      ("  Cluster:", profile.cluster),
      ("  Roles:", profile.roles.joined(separator: ", ")),
      ("  Databases:", databases.joined(separator: ", ")),
      ("  Valid until:", "\(formatter.string(from: profile.validUntil)) [\(remaining)]"),
    ]
    return fields.filter { !$0.1.isEmpty }
      .map { $0.0.padding(toLength: 20, withPad: " ", startingAt: 0) + Terminal.safe($0.1) }.joined(separator: "\n")
  }
}
