import DatabaseService
import Gateway
import PKI
import PostgresWire

/// Decides on a proxy where a login leads: to the Database Service of this process if it serves the database, else
/// through a tunnel to an agent. Whether it is allowed is decided there.
struct ProxyAuthorizer: SessionAuthorizer {
  let local: DatabaseAuthorizer?
  let tunnels: TunnelRegistry
  let identify: @Sendable ([UInt8]) throws -> UserIdentity
  /// Why the cluster has shut this host out; `nil`: it has not.
  let exclusion: @Sendable () throws -> String?

  func authorize(_ request: SessionRequest) async -> Result<SessionRoute, WireError> {
    let identity: UserIdentity
    do {
      if let reason = try exclusion() {
        return .failure(WireError(.cannotConnectNow, reason, hint: "Connect to another proxy of the cluster."))
      }
      identity = try identify(request.certificate)
    } catch {
      return .failure(
        WireError(
          .invalidAuthorization, "the client certificate cannot be used: \(error)", hint: "Run 'tsh db login'."))
    }
    guard let route = identity.route else {
      return .failure(
        WireError(
          .invalidAuthorization, "the client certificate is not for a database",
          hint: "Run 'tsh db login NAME' and use the certificate it stores."))
    }
    // A database that nobody serves is refused like one that may not be seen, where that can be decided here.
    if let local, local.serves(route.service) || !tunnels.isServed(route.service) {
      return await local.authorize(request, identity: identity)
    }
    return .success(.agents(database: route.service))
  }

  func userName(certificate: [UInt8]) -> String? { try? identify(certificate).username }

  func cancelRefused(_ sessionID: String?, certificate: [UInt8], clientAddress: String) {
    local?.cancelRefused(sessionID, certificate: certificate, clientAddress: clientAddress)
  }

  func sessionStarting(_ sessionID: String, _ answer: @escaping @Sendable (WireError?) -> Void) {
    if let local { local.sessionStarting(sessionID, answer) } else { answer(nil) }
  }
  func sessionStarted(_ sessionID: String, failure: WireError?) { local?.sessionStarted(sessionID, failure: failure) }
  func sessionEnded(_ summary: SessionSummary) { local?.sessionEnded(summary) }
}

/// The port of an Auth Service without proxy: no databases there.
struct NoDatabases: SessionAuthorizer {
  func authorize(_ request: SessionRequest) async -> Result<SessionRoute, WireError> {
    .failure(WireError(.cannotConnect, "this is the Auth Service's port", hint: "Connect to the proxy."))
  }
  func userName(certificate: [UInt8]) -> String? { nil }
  func cancelRefused(_ sessionID: String?, certificate: [UInt8], clientAddress: String) {}
  func sessionStarting(_ sessionID: String, _ answer: @escaping @Sendable (WireError?) -> Void) { answer(nil) }
  func sessionStarted(_ sessionID: String, failure: WireError?) {}
  func sessionEnded(_ summary: SessionSummary) {}
}
