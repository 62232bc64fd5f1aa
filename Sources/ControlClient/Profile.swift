import Foundation

/// A login to one cluster, as `tsh login` left it on disk.
public struct Profile: Codable, Sendable {
  /// `HOST:PORT` or `[v6]:PORT`.
  public var proxy: String
  /// Who is logged in.
  public var user: String
  /// The cluster's name.
  public var cluster: String
  /// Roles in the certificate.
  public var roles: [String]
  /// Traits in the certificate.
  public var traits: [String: [String]]
  /// End of the certificate's life.
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
