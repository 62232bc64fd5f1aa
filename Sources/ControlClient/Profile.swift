import Foundation

/// A login to one cluster, as `tsh login` left it on disk.
public struct Profile: Codable, Sendable {
  public var proxy: String
  public var user: String
  public var cluster: String
  public var roles: [String]
  public var traits: [String: [String]]
  public var validUntil: Date

  public init(
    proxy: String, user: String, cluster: String, roles: [String], traits: [String: [String]], validUntil: Date
  ) {
    self.proxy = proxy
    self.user = user
    self.cluster = cluster
    self.roles = roles
    self.traits = traits
    self.validUntil = validUntil
  }

  /// What its files are called; see `ProxyAddress.profileName`.
  public var name: String { (try? ProxyAddress(proxy).profileName) ?? proxy }
  public var host: String { (try? ProxyAddress(proxy).host) ?? "" }
  public var port: String { (try? String(ProxyAddress(proxy).port)) ?? "" }

  /// The command that renews this login.
  public var loginCommand: String { "run: tsh login --proxy=\(proxy) --user=\(user)" }
  public var expired: ToolError { ToolError("the login has expired", hint: loginCommand) }
}
