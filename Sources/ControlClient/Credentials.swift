import ControlAPI
import Foundation
import PKI

/// Whom a command acts as: a stored login or an identity file.
public struct Credentials: Sendable {
  public let profile: Profile
  public let identity: ClientIdentity
  public let hostCAPEM: String
  /// They come from a file given by hand rather than from `tsh login`.
  public let isIdentityFile: Bool

  /// Those of the current (or the named) login; throws with the command to type if there is none or it has expired.
  public init(stored store: ProfileStore, proxy: String?, user: String?) throws {
    try self.init(of: store.valid(proxy: proxy, user: user), in: store)
  }

  /// Those of a stored login, expired or not.
  public init(of profile: Profile, in store: ProfileStore) throws {
    self.profile = profile
    (identity, hostCAPEM) = try store.identity(profile)
    isIdentityFile = false
  }

  /// Those of an identity file, for the cluster at `proxy`.
  public init(identityFile path: String, proxy: String?) throws {
    guard let proxy else {
      throw ToolError("with an identity file the proxy must be named", hint: "use --proxy=HOST:PORT")
    }
    let file = try IdentityFile(path: path)
    let owner: UserIdentity
    do {
      owner = try UserIdentity(certificatePEM: file.identity.certificatePEM)
    } catch {
      throw ToolError("\(path): the certificate is not a user's", hint: "make one with: tsh login --out=FILE")
    }
    guard owner.notValidAfter > Date() else {
      throw ToolError("the identity file \(path) has expired", hint: "make a new one with: tsh login --out=\(path)")
    }
    profile = Profile(
      proxy: try ProxyAddress(proxy).description, user: owner.username, cluster: owner.clusterName, roles: owner.roles,
      traits: owner.traits, validUntil: owner.notValidAfter)
    identity = file.identity
    hostCAPEM = file.hostCAPEM
    isIdentityFile = true
  }

  /// A client that speaks for them.
  public func makeClient(insecure: Bool) throws -> APIClient {
    try APIClient(address: profile.proxy, identity: identity, trustedCAPEMs: [hostCAPEM], insecure: insecure)
  }

  /// Runs `body` with a client; the connection is closed whatever happens.
  public func withClient<Result>(insecure: Bool, _ body: (APIClient) async throws -> Result) async throws -> Result {
    try await makeClient(insecure: insecure).closing(body)
  }
}

extension APIClient {
  /// Runs `body` and shuts down.
  public func closing<Result>(_ body: (APIClient) async throws -> Result) async throws -> Result {
    do {
      let result = try await body(self)
      await shutDown()
      return result
    } catch {
      await shutDown()
      throw error
    }
  }
}
