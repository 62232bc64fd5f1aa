import ControlClient
import Foundation
import LocalProxy
import PostgresWire
import Reactor
import TLS

/// Keeps the certificate of `tsh proxy db --tunnel` fresh: from a login on disk that is newer, else by asking for one.
///
/// Running sessions keep the certificate they began with. One renewal runs at a time, however many clients wait for it.
actor TunnelSource: UpstreamSource {
  private struct Current {
    let tls: ClientTLSContext
    let validUntil: Date
  }

  private let options: CommonOptions
  private let name: String
  private let route: RouteOptions
  private let address: ProxyAddress
  private let user: String
  private var current: Current?
  private var renewal: Task<Current, any Error>?
  private var lastRefusal = Date.distantPast

  /// A certificate that ends within these seconds is taken for ended.
  private static let margin: TimeInterval = 5
  /// After a question that got no good answer, clients are refused without another for so many seconds.
  private static let pause: TimeInterval = 10

  init(_ credentials: Credentials, name: String, route: RouteOptions, options: CommonOptions) throws {
    address = try ProxyAddress(credentials.profile.proxy)
    user = credentials.profile.user
    self.name = name
    self.route = route
    self.options = options
  }

  /// Gets the first certificate, so that a mistake is told before anyone connects.
  func start(_ credentials: Credentials) async throws { current = try await issue(credentials) }

  func upstream() async -> Result<Upstream, WireError> {
    do {
      let current = try await valid()
      let addresses = try AddressLookup.addresses(host: address.host, port: address.port)
      return .success(Upstream(addresses: addresses, tls: current.tls, serverName: address.host))
    } catch let error as LookupError {
      return .failure(
        WireError(.cannotConnect, "cannot resolve \(address.host): \(error)", hint: "Check the network and DNS."))
    } catch let error as ToolError {
      return .failure(WireError(.invalidAuthorization, error.message, hint: error.hint))
    } catch {
      return .failure(WireError(.internalError, "\(error)"))
    }
  }

  private func valid() async throws -> Current {
    if let current, current.validUntil > Date() + Self.margin { return current }
    if let renewal { return try await renewal.value }
    let task = Task { try await renew() }
    renewal = task
    defer { renewal = nil }
    let renewed = try await task.value
    current = renewed
    return renewed
  }

  private func renew() async throws -> Current {
    do {
      return try await issue(options.credentials(at: address, user: user))
    } catch let error as ToolError {
      let isRefused = Date() < lastRefusal + Self.pause
      guard error.status == 0, options.identity == nil, Prompt.isPossible, !isRefused else {
        throw ToolError(
          error.message, hint: "run: tsh login --proxy=\(address) --user=\(user), then connect again")
      }
    }
    do {
      return try await issue(askForLogin())
    } catch {
      lastRefusal = Date()
      FileHandle.standardError.write(Data("ERROR: \(Terminal.safe("\(error)"))\n".utf8))
      throw error
    }
  }

  private func askForLogin() async throws -> Credentials {
    FileHandle.standardError.write(Data("\nThe login has expired and a client is waiting.\n".utf8))
    let secrets = try SecretOptions.parse([])
    let outcome = try await Authentication(address: address, user: user, insecure: options.insecure).logIn(secrets)
    let store = ProfileStore()
    let inUse = try store.current()
    try store.save(outcome.identity, hostCAPEM: outcome.hostCAPEM, for: outcome.profile)
    try store.save(outcome.profile)
    // Another login may have become the one in use meanwhile: it stays that.
    if let inUse { try store.use(inUse) }
    return try Credentials(stored: store, proxy: "\(address)", user: user)
  }

  private func issue(_ credentials: Credentials) async throws -> Current {
    let issued = try await DatabaseAccess.issue(
      name, user: route.dbUser, database: route.dbName, leavesOpen: true, credentials, insecure: options.insecure)
    do {
      let tls = try ClientTLSContext(
        mode: options.insecure ? .insecure : .verifyFull, trustedCAPEM: issued.hostCAPEM,
        clientCertificate: (issued.identity.certificatePEM, issued.identity.keyPEM),
        applicationProtocols: ["teleport-postgres"])
      return Current(tls: tls, validUntil: issued.validUntil)
    } catch {
      throw ToolError("the certificate cannot be used: \(error)")
    }
  }
}

/// Leads to the public port and leaves TLS to the client.
struct PassThroughSource: UpstreamSource {
  let address: ProxyAddress

  func upstream() async -> Result<Upstream, WireError> {
    do {
      let addresses = try AddressLookup.addresses(host: address.host, port: address.port)
      return .success(Upstream(addresses: addresses, tls: nil, serverName: address.host))
    } catch {
      return .failure(WireError(.cannotConnect, "cannot resolve \(address.host): \(error)"))
    }
  }
}
