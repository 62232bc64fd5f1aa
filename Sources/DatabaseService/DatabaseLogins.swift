import AWS
import Audit
import Foundation
import Gateway
import PKI
import PostgresWire
import Reactor
import Secrets
import TLS

/// The way of one person to one database as one of its users: gives a login for it whenever one is needed.
struct DatabaseLogins: Sendable {
  let database: ServedDatabase
  let identity: UserIdentity
  /// As the client asked for it.
  let user: String
  let databaseName: String
  /// A role names the user letter by letter, so that it may be of another account.
  let isSpelledOut: Bool
  let authenticator: RedshiftAuthenticator
  let clientCertificates: ClientCertificates
  let keys: ScramKeyCache
  let names: NameLookups
  let refusals: Refusals
  /// The record of what was asked for.
  let event: AuditEvent

  /// What the connections of two sessions have to agree in, so that one session may use the other's.
  private struct Identity: Hashable {
    let database: ServedDatabase.Identity
    /// Records of the database and of AWS say who it was: people share nothing.
    let person: String
    let user: String
    let databaseName: String
    /// At AWS, and the database user that came of it.
    var login: DatabaseLogin?
    var loginUser: String?
    /// Of a database that lets in by client certificate.
    var authorityPEMs: [String] = []
  }

  /// A login that is good now, and what it has in common with others that lead to equal connections.
  ///
  /// - Parameter rejected: a password that the database has refused.
  /// - Throws: `AWSError`, `CredentialsError`, `ClientCertificateError` or `WireError`.
  func login(rejected: Secret?) async throws -> (login: ServerLogin, identity: PoolIdentity) {
    var own = Identity(database: database.identity, person: identity.username, user: user, databaseName: databaseName)
    guard let redshift = database.redshift else {
      let entry = try await clientCertificates.entry(for: database, user: user)
      let login = try await serverLogin(
        tls: entry.context, user: user, password: nil, isCached: false, validUntil: entry.validUntil)
      own.authorityPEMs = entry.authorityPEMs
      return (login, PoolIdentity(own))
    }
    let asked = try redshift.login(user: user, database: databaseName, isSpelledOut: isSpelledOut)
    let (credentials, isCached) = try await authenticator.credentials(
      for: asked, userName: identity.username, rejected: rejected)
    let login = try await serverLogin(
      tls: database.tls, user: credentials.user, password: credentials.password, isCached: isCached,
      validUntil: credentials.expiration)
    (own.login, own.loginUser) = (asked, credentials.user)
    return (login, PoolIdentity(own))
  }

  private func serverLogin(
    tls: ClientTLSContext, user: String, password: Secret?, isCached: Bool, validUntil: Date
  ) async throws -> ServerLogin {
    ServerLogin(
      addresses: try await addresses(), tls: tls,
      serverName: database.serverName, user: user, password: password, isPasswordCached: isCached,
      deriveKeys: { [keys, password] derivation throws(AuthenticationFailure) in
        try keys.keys(for: derivation, password: password)
      },
      rememberedKeys: { [keys, password] in keys.remembered(for: $0, password: password) },
      validity: UInt64(max(0, validUntil.timeIntervalSinceNow) * 1000))
  }

  private func addresses() async throws(WireError) -> [SocketAddress] {
    do {
      return try await names.addresses(host: database.host, port: database.port)
    } catch {
      let refusal = error.at(.nameResolution, database.host, session: event.sessionID ?? "")
      refusals.note(refusal, event)
      throw refusal
    }
  }
}
