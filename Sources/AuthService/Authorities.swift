import ControlAPI
import Foundation
import PKI
import Secrets
import StateStore
import Synchronization

/// The cluster's authorities as they stand: who issues, who is trusted besides, how far rotations are. Immutable.
struct Authorities: Sendable {
  /// One kind.
  struct Member: Sendable {
    /// Issues.
    let active: CertificateAuthority
    /// Trusted besides, while a rotation is under way.
    let other: CertificateAuthority?
    /// By which the two vouch for each other.
    let bridges: [String]
    let rotation: Rotation

    /// The certificates to trust, that of the issuing one first.
    var pems: [String] { get throws { try [active.certificatePEM] + (other.map { [try $0.certificatePEM] } ?? []) } }
  }

  let certificates: AuthorityCertificates
  let trusted: TrustedAuthorities
  private let members: [CertificateAuthority.Kind: Member]

  init(_ members: [CertificateAuthority.Kind: Member]) throws {
    self.members = members
    func pems(_ kind: CertificateAuthority.Kind) throws -> [String] { try members[kind]?.pems ?? [] }
    certificates = AuthorityCertificates(
      userPEMs: try pems(.user), hostPEMs: try pems(.host), databasePEMs: try pems(.database),
      databaseClientPEMs: try pems(.databaseClient), hostBridgePEMs: members[.host]?.bridges ?? [],
      hostPhase: members[.host]?.rotation.phase ?? .standby)
    trusted = try TrustedAuthorities(userPEMs: certificates.userPEMs, hostPEMs: certificates.hostPEMs)
  }

  subscript(kind: CertificateAuthority.Kind) -> Member {
    get throws {
      guard let member = members[kind] else { throw AuthError.internal("the \(kind.rawValue) CA is missing") }
      return member
    }
  }
}

/// Reads the authorities from the state, and their keys only when they have changed: by whichever Auth Service of the
/// cluster. Thread-safe.
final class AuthorityStore: Sendable {
  /// All but the keys: tells whether what is known is still so.
  private struct Listing: Equatable {
    let kind: CertificateAuthority.Kind
    let certificate: String
    let otherCertificate: String?
    let bridges: [String]
    let rotation: Rotation
  }

  private let state: ClusterState
  private let sealed: SealedSecrets
  private let known = Mutex<(listings: [Listing], authorities: Authorities)?>(nil)

  /// Makes the authorities that the state does not hold yet.
  init(_ state: ClusterState, _ sealed: SealedSecrets, clusterName: String) throws {
    self.state = state
    self.sealed = sealed
    try state.database.write { database in
      for kind in CertificateAuthority.Kind.allCases {
        let query = "SELECT kind FROM authority WHERE kind = ?"
        guard try String.fetchOne(database, sql: query, arguments: [kind.rawValue]) == nil else { continue }
        try setActive(try CertificateAuthority.make(kind, clusterName: clusterName), in: database)
      }
    }
  }

  var now: Authorities {
    get throws {
      try state.database.read { database in
        let listings = try Self.listings(in: database)
        if let known = known.withLock({ $0 }), known.listings == listings { return known.authorities }
        let authorities = try Authorities(
          Dictionary(uniqueKeysWithValues: listings.map { ($0.kind, try member($0, in: database)) }))
        known.withLock { $0 = (listings, authorities) }
        return authorities
      }
    }
  }

  private static func listings(in database: Database) throws -> [Listing] {
    let query = """
      SELECT authority.kind, authority.certificate, rotation.certificate AS other, bridges, phase, is_manual, since,
        phase_seconds, last_rotated
      FROM authority LEFT JOIN rotation ON rotation.kind = authority.kind ORDER BY authority.kind
      """
    return try Row.fetchAll(database, sql: query).compactMap { row in
      guard let kind = CertificateAuthority.Kind(rawValue: try row["kind"]) else { return nil }
      let bridges: String? = try row["bridges"]
      return Listing(
        kind: kind, certificate: try row["certificate"], otherCertificate: try row["other"],
        bridges: try bridges.map { try JSONDecoder().decode([String].self, from: Data($0.utf8)) } ?? [],
        rotation: try Rotation(kind: kind, row))
    }
  }

  private func member(_ listing: Listing, in database: Database) throws -> Authorities.Member {
    func load(_ table: String, _ certificate: String) throws -> CertificateAuthority {
      let key = try Data.fetchOne(
        database, sql: "SELECT key FROM \(table) WHERE kind = ?", arguments: [listing.kind.rawValue])
      return try CertificateAuthority(
        kind: listing.kind, certificatePEM: certificate, keyPEM: try sealed.openKey(key ?? Data(), of: listing.kind))
    }
    return Authorities.Member(
      active: try load("authority", listing.certificate),
      other: try listing.otherCertificate.map { try load("rotation", $0) }, bridges: listing.bridges,
      rotation: listing.rotation)
  }

  // MARK: Changes

  /// As `now`, inside a transaction that is about to change it.
  func member(_ kind: CertificateAuthority.Kind, in database: Database) throws -> Authorities.Member {
    guard let listing = try Self.listings(in: database).first(where: { $0.kind == kind }) else {
      throw AuthError.internal("the \(kind.rawValue) CA is missing")
    }
    return try member(listing, in: database)
  }

  func store(
    _ rotation: Rotation, active: CertificateAuthority, other: CertificateAuthority?, in database: Database
  ) throws {
    try setActive(active, in: database)
    let bridges = try other.map { try [active.bridge(to: $0), $0.bridge(to: active)] }
    try database.execute(
      sql: """
        INSERT INTO rotation
          (kind, phase, is_manual, since, phase_seconds, last_rotated, certificate, key, bridges)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (kind) DO UPDATE SET phase = excluded.phase, is_manual = excluded.is_manual,
          since = excluded.since, phase_seconds = excluded.phase_seconds, last_rotated = excluded.last_rotated,
          certificate = excluded.certificate, key = excluded.key, bridges = excluded.bridges
        """,
      arguments: [
        rotation.kind.rawValue, rotation.phase.rawValue, rotation.isManual ? 1 : 0,
        rotation.since.timeIntervalSince1970, rotation.phaseSeconds, rotation.lastRotated?.timeIntervalSince1970,
        try other?.certificatePEM, try other.map { try sealed.sealKey(of: $0) },
        try bridges.map { String(decoding: try JSONEncoder().encode($0), as: UTF8.self) },
      ])
  }

  private func setActive(_ authority: CertificateAuthority, in database: Database) throws {
    try database.execute(
      sql: """
        INSERT INTO authority (kind, certificate, key) VALUES (?, ?, ?)
        ON CONFLICT (kind) DO UPDATE SET certificate = excluded.certificate, key = excluded.key
        """,
      arguments: [
        authority.kind.rawValue, try authority.certificatePEM, try sealed.sealKey(of: authority),
      ])
  }
}
