import AccessControl
import ControlAPI
import Foundation
import PKI
import Secrets
import TLS

/// Why there is no certificate to present to a database.
struct ClientCertificateError: Error, CustomStringConvertible {
  let description: String
}

/// The certificates by which databases without AWS settings know their users: one a database and user, of the cluster's
/// db_client CA, kept until shortly before it expires.
///
/// However many logins need one, it is asked for once. While the Auth Service is out of reach, what is there goes on being
/// used for as long as it is good.
public actor ClientCertificates {
  /// What a kept context depends on: a reload or a rotation makes it void.
  private struct Key: Hashable {
    let database: String
    let uri: String
    let user: String
  }

  struct Entry {
    let context: ClientTLSContext
    fileprivate let base: ClientTLSContext
    fileprivate let trusted: [String]
    fileprivate let issuers: [String]
    let validUntil: Date
    /// From here on a better one is looked for.
    let renewal: Date

    /// The CA certificates it stands and falls with.
    var authorityPEMs: [String] { trusted + issuers }
  }

  private static let maximumEntries = 4096
  /// Seconds before its end that a certificate is given out no more: the login still needs some.
  private static let margin = 60.0
  /// Part of a certificate's life after which the next is asked for.
  private static let renewalPoint = 0.75

  private let authorities: @Sendable () throws -> AuthorityCertificates
  private let sign: @Sendable (DatabaseClientCertificateRequest) async throws -> SignedCertificate
  private var entries: [Key: Entry] = [:]
  private var flights: [Key: Task<Entry, any Error>] = [:]

  /// - Parameters:
  ///   - authorities: the CA certificates in force.
  ///   - sign: asks the Auth Service.
  public init(
    authorities: @escaping @Sendable () throws -> AuthorityCertificates,
    sign: @escaping @Sendable (DatabaseClientCertificateRequest) async throws -> SignedCertificate
  ) {
    self.authorities = authorities
    self.sign = sign
  }

  /// One whose context presents a certificate with `user` as its Common Name.
  func entry(for database: ServedDatabase, user: String) async throws -> Entry {
    let key = Key(database: database.name, uri: database.uri, user: user)
    let authorities = try self.authorities()
    let known = entries[key].flatMap { entry in
      // Another base is another configuration of the database.
      entry.base === database.tls && entry.trusted == authorities.databasePEMs
        && entry.issuers == authorities.databaseClientPEMs && entry.validUntil > Date() + Self.margin ? entry : nil
    }
    if let known, known.renewal > Date() { return known }
    do {
      return try await fetch(key, database, authorities)
    } catch {
      if let known { return known }
      throw error
    }
  }

  private func fetch(
    _ key: Key, _ database: ServedDatabase, _ authorities: AuthorityCertificates
  ) async throws -> Entry {
    if let flight = flights[key] { return try await flight.value }
    let flight = Task { [sign] in try await Self.make(key, database, authorities, sign) }
    flights[key] = flight
    defer { flights[key] = nil }
    let entry = try await flight.value
    if entries.count >= Self.maximumEntries { entries = entries.filter { $0.value.validUntil > Date() } }
    // Full of certificates that are all in use: this one is not kept.
    if entries.count < Self.maximumEntries || entries[key] != nil { entries[key] = entry }
    return entry
  }

  private static func make(
    _ key: Key, _ database: ServedDatabase, _ authorities: AuthorityCertificates,
    _ sign: @Sendable (DatabaseClientCertificateRequest) async throws -> SignedCertificate
  ) async throws -> Entry {
    do {
      let pair = KeyPair.generate()
      let asked = Date()
      let signed = try await sign(
        DatabaseClientCertificateRequest(
          service: key.database, databaseUser: key.user,
          signingRequestPEM: try pair.signingRequestPEM(commonName: key.user)))
      let context = try database.context(
        presenting: (signed.certificatePEM, pair.pem), clusterCAPEMs: authorities.databasePEMs)
      return Entry(
        context: context, base: database.tls, trusted: authorities.databasePEMs,
        issuers: authorities.databaseClientPEMs, validUntil: signed.validUntil,
        renewal: asked + signed.validUntil.timeIntervalSince(asked) * renewalPoint)
    } catch {
      throw ClientCertificateError(description: "\(error)")
    }
  }
}
