import Crypto
import Foundation
import Secrets
import SwiftASN1
import TLS
import X509

/// The certificates of all simulated worlds. Ed25519 keys from fixed seeds, since their signatures are the same in every
/// run and always 64 bytes: so is the length of every TLS record, and a seed means the same in every process.
package struct Identities: Sendable {
  package struct Identity: Sendable {
    package let chainPEM: String
    package let keyPEM: Secret
    package let der: [UInt8]
  }

  package let users: [Identity]
  package let agents: [Identity]
  let proxy: Identity
  let database: Identity
  let userCA: String
  let hostCA: String
  let databaseCA: String

  /// What a proxy presents on its port, after an SSLRequest and without one.
  package let postgres: ServerTLSContext
  package let direct: ServerTLSContext
  /// A database's port.
  package let databaseServer: ServerTLSContext
  /// The gateway's way to a database.
  package let toDatabase: ClientTLSContext
  /// Clients: one context a user, and one without a certificate, for libpq's way and for direct TLS.
  package let clients: [ClientTLSContext]
  package let directClients: [ClientTLSContext]
  package let stranger: ClientTLSContext
  package let agentContexts: [(control: ClientTLSContext, session: ClientTLSContext)]

  package static let serverName = "localhost"
  private static let userCount = 2
  private static let agentCount = 2

  package init() throws {
    let (userKey, hostKey, databaseKey) = (try Self.key(1), try Self.key(2), try Self.key(3))
    func authority(_ name: String, _ key: Certificate.PrivateKey) throws -> Certificate {
      try Self.certificate(name, for: key.publicKey, issuer: name, by: key, names: [], isAuthority: true)
    }
    userCA = try authority("user CA", userKey).serializeAsPEM().pemString
    hostCA = try authority("host CA", hostKey).serializeAsPEM().pemString
    databaseCA = try authority("database CA", databaseKey).serializeAsPEM().pemString
    func leaf(_ name: String, _ number: UInt8, _ ca: String, _ caKey: Certificate.PrivateKey) throws -> Identity {
      let key = try Self.key(number)
      let certificate = try Self.certificate(
        name, for: key.publicKey, issuer: ca, by: caKey, names: [Self.serverName], isAuthority: false)
      var serializer = DER.Serializer()
      try serializer.serialize(certificate)
      return Identity(
        chainPEM: try certificate.serializeAsPEM().pemString,
        keyPEM: Secret(utf8: try key.serializeAsPEM().pemString), der: serializer.serializedBytes)
    }
    users = try (0..<Self.userCount).map { try leaf("user \($0)", 10 + UInt8($0), "user CA", userKey) }
    agents = try (0..<Self.agentCount).map { try leaf("agent \($0)", 20 + UInt8($0), "host CA", hostKey) }
    proxy = try leaf("proxy", 30, "host CA", hostKey)
    database = try leaf("database", 31, "database CA", databaseKey)

    postgres = try ServerTLSContext(
      certificateChainPEM: proxy.chainPEM, privateKeyPEM: proxy.keyPEM, clientCAPEMs: [userCA],
      applicationProtocols: ["postgresql"])
    let tunnel = ["teleport-reversetunnel", "sallyport-session"]
    direct = try ServerTLSContext(
      certificateChainPEM: proxy.chainPEM, privateKeyPEM: proxy.keyPEM, clientCAPEMs: [userCA],
      applicationProtocols: ["postgresql"] + tunnel, choices: [.init(protocols: tunnel, clientCAPEMs: [hostCA])])
    databaseServer = try ServerTLSContext(
      certificateChainPEM: database.chainPEM, privateKeyPEM: database.keyPEM, clientCAPEMs: [hostCA],
      applicationProtocols: ["postgresql"])
    toDatabase = try ClientTLSContext(mode: .verifyFull, trustedCAPEM: databaseCA)
    let trusted = hostCA
    func client(_ identity: Identity?, _ protocols: [String]) throws -> ClientTLSContext {
      try ClientTLSContext(
        mode: .verifyFull, trustedCAPEM: trusted, clientCertificate: identity.map { ($0.chainPEM, $0.keyPEM) },
        applicationProtocols: protocols)
    }
    clients = try users.map { try client($0, []) }
    directClients = try users.map { try client($0, ["postgresql"]) }
    stranger = try client(nil, [])
    agentContexts = try agents.map { (try client($0, [tunnel[0]]), try client($0, [tunnel[1]])) }
  }

  private static func key(_ number: UInt8) throws -> Certificate.PrivateKey {
    .init(try Curve25519.Signing.PrivateKey(rawRepresentation: [UInt8](repeating: number, count: 32)))
  }

  private static func certificate(
    _ name: String, for key: Certificate.PublicKey, issuer: String, by issuerKey: Certificate.PrivateKey,
    names: [String], isAuthority: Bool
  ) throws -> Certificate {
    try Certificate(
      version: .v3, serialNumber: .init(bytes: [1] + Array(name.utf8)), publicKey: key,
      notValidBefore: Date(timeIntervalSince1970: 1_600_000_000),
      notValidAfter: Date(timeIntervalSince1970: 4_000_000_000),
      issuer: try DistinguishedName { CommonName(issuer) }, subject: try DistinguishedName { CommonName(name) },
      signatureAlgorithm: .ed25519,
      extensions: try Certificate.Extensions {
        if isAuthority {
          Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
          Critical(KeyUsage(keyCertSign: true))
        } else {
          Critical(BasicConstraints.notCertificateAuthority)
          Critical(KeyUsage(digitalSignature: true))
          try ExtendedKeyUsage([.serverAuth, .clientAuth])
          SubjectAlternativeNames(names.map { .dnsName($0) })
        }
      }, issuerPrivateKey: issuerKey)
  }
}
