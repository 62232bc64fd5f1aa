import Crypto
import Foundation
import Glibc
import Secrets
import SwiftASN1
import TextForms
import X509

/// Signs certificates of one kind. A certificate of one authority is never accepted for another's purpose.
public struct CertificateAuthority: Sendable {
  /// What an authority's certificates are for.
  public enum Kind: String, Sendable, CaseIterable, Codable {
    case user, host
    /// Servers of databases.
    case database = "db"
    /// What the Database Service presents to databases.
    case databaseClient = "db_client"
  }

  /// What it signs for.
  public let kind: Kind
  /// Its own certificate.
  public let certificate: Certificate
  private let keyPair: KeyPair

  private static let lifetime: TimeInterval = 10 * 365.25 * 86_400
  /// Certificates begin this long ago, for clocks that lag.
  private static let backdating: TimeInterval = 60

  /// A new authority for `clusterName`.
  public static func make(_ kind: Kind, clusterName: String) throws -> CertificateAuthority {
    let keyPair = KeyPair.generate()
    let name = try DistinguishedName {
      OrganizationName(clusterName)
      CommonName("\(clusterName) \(kind.rawValue) CA")
    }
    let key = Certificate.PrivateKey(keyPair.key)
    let certificate = try Certificate(
      version: .v3, serialNumber: .init(), publicKey: key.publicKey, notValidBefore: Date() - backdating,
      notValidAfter: Date() + lifetime, issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256,
      extensions: Certificate.Extensions {
        Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
        Critical(KeyUsage(keyCertSign: true, cRLSign: true))
        SubjectKeyIdentifier(hash: key.publicKey)
      }, issuerPrivateKey: key)
    return CertificateAuthority(kind: kind, certificate: certificate, keyPair: keyPair)
  }

  private init(kind: Kind, certificate: Certificate, keyPair: KeyPair) {
    self.kind = kind
    self.certificate = certificate
    self.keyPair = keyPair
  }

  /// An authority from storage.
  public init(kind: Kind, certificatePEM: String, keyPEM: Secret) throws {
    self.kind = kind
    certificate = try Certificate(pemEncoded: certificatePEM)
    keyPair = try KeyPair(pem: keyPEM)
    guard Certificate.PrivateKey(keyPair.key).publicKey == certificate.publicKey else {
      throw PKIError("the \(kind.rawValue) CA's key does not belong to its certificate")
    }
  }

  /// Its certificate as PEM.
  public var certificatePEM: String { get throws { try certificate.pem } }
  /// Its private key as PEM, to be stored.
  public var keyPEM: Secret { keyPair.pem }

  /// `sha256:` and the hex of the SHA-256 of the SubjectPublicKeyInfo.
  public var pin: String { get throws { try caPin(of: certificate) } }

  /// A user's certificate for the key of `signingRequestPEM`; every other field is decided here.
  public func issue(_ identity: UserIdentity, signingRequestPEM: String, notAfter: Date) throws -> String {
    let publicKey = try Self.publicKey(ofSigningRequest: signingRequestPEM)
    return try sign(
      publicKey, commonName: identity.username, notAfter: notAfter, usages: [.clientAuth],
      names: nil, identity: try identity.certificateExtension())
  }

  /// A host's certificate, as server and as client, for a fresh key.
  ///
  /// - Parameter names: DNS or IP SANs besides the host's own name within the cluster.
  public func issueHost(
    _ identity: HostIdentity, names: [String], notAfter: Date
  ) throws -> (certificatePEM: String, key: KeyPair) {
    let keyPair = KeyPair.generate()
    let request = try keyPair.signingRequestPEM(commonName: identity.hostID)
    return (try issueHost(identity, names: names, signingRequestPEM: request, notAfter: notAfter), keyPair)
  }

  /// As above, for the key of `signingRequestPEM`; every other field is decided here.
  public func issueHost(
    _ identity: HostIdentity, names: [String], signingRequestPEM: String, notAfter: Date
  ) throws -> String {
    let own = HostIdentity.dnsName(hostID: identity.hostID, clusterName: identity.clusterName)
    return try sign(
      Self.publicKey(ofSigningRequest: signingRequestPEM), commonName: identity.hostID, notAfter: notAfter,
      usages: [.serverAuth, .clientAuth], names: SubjectAlternativeNames(([own] + names).map(Self.generalName)),
      identity: try identity.certificateExtension())
  }

  /// A database server's certificate for the key of `signingRequestPEM`.
  ///
  /// - Parameter names: DNS or IP SANs; the first is the subject too.
  public func issueDatabaseServer(names: [String], signingRequestPEM: String, notAfter: Date) throws -> String {
    guard let first = names.first else { throw PKIError("a server's certificate needs a name") }
    return try sign(
      Self.publicKey(ofSigningRequest: signingRequestPEM), commonName: first, notAfter: notAfter,
      usages: [.serverAuth], names: SubjectAlternativeNames(names.map(Self.generalName)), identity: nil)
  }

  /// A certificate that speaks for a database user to the database, for the key of `signingRequestPEM`.
  public func issueDatabaseClient(user: String, signingRequestPEM: String, notAfter: Date) throws -> String {
    try sign(
      Self.publicKey(ofSigningRequest: signingRequestPEM), commonName: user, notAfter: notAfter,
      usages: [.clientAuth], names: nil, identity: nil)
  }

  /// The certificate by which this authority vouches for `other`, of the same name (RFC 4210 section 4.4): who trusts
  /// only this one can check what the other issued. Being self-issued it does not count against the path length.
  public func bridge(to other: CertificateAuthority) throws -> String {
    let certificate = try Certificate(
      version: .v3, serialNumber: .init(), publicKey: other.certificate.publicKey,
      notValidBefore: Date() - Self.backdating,
      notValidAfter: min(self.certificate.notValidAfter, other.certificate.notValidAfter),
      issuer: self.certificate.subject, subject: other.certificate.subject, signatureAlgorithm: .ecdsaWithSHA256,
      extensions: Certificate.Extensions {
        Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
        Critical(KeyUsage(keyCertSign: true, cRLSign: true))
        SubjectKeyIdentifier(hash: other.certificate.publicKey)
        AuthorityKeyIdentifier(keyIdentifier: SubjectKeyIdentifier(hash: self.certificate.publicKey).keyIdentifier)
      }, issuerPrivateKey: Certificate.PrivateKey(keyPair.key))
    return try certificate.pem
  }

  private func sign(
    _ publicKey: Certificate.PublicKey, commonName: String, notAfter: Date, usages: [ExtendedKeyUsage.Usage],
    names: SubjectAlternativeNames?, identity: Certificate.Extension?
  ) throws -> String {
    let issuerKey = Certificate.PrivateKey(keyPair.key)
    var extensions = try Certificate.Extensions {
      Critical(BasicConstraints.notCertificateAuthority)
      Critical(KeyUsage(digitalSignature: true))
      try ExtendedKeyUsage(usages)
      SubjectKeyIdentifier(hash: publicKey)
      AuthorityKeyIdentifier(keyIdentifier: SubjectKeyIdentifier(hash: issuerKey.publicKey).keyIdentifier)
    }
    if let names { try extensions.append(Certificate.Extension(names, critical: false)) }
    if let identity { try extensions.append(identity) }
    let certificate = try Certificate(
      version: .v3, serialNumber: .init(), publicKey: publicKey, notValidBefore: Date() - Self.backdating,
      notValidAfter: notAfter, issuer: self.certificate.subject,
      subject: try DistinguishedName { CommonName(commonName) },
      signatureAlgorithm: .ecdsaWithSHA256, extensions: extensions, issuerPrivateKey: issuerKey)
    return try certificate.pem
  }

  private static func publicKey(ofSigningRequest pem: String) throws -> Certificate.PublicKey {
    guard pem.utf8.count <= 16 * 1024 else { throw PKIError("the signing request is too long") }
    let request: CertificateSigningRequest
    do {
      request = try CertificateSigningRequest(pemEncoded: pem)
    } catch {
      throw PKIError("the signing request is not valid PEM")
    }
    guard request.publicKey.isValidSignature(request.signature, for: request) else {
      throw PKIError("the signing request is not signed with its own key")
    }
    guard P256.Signing.PublicKey(request.publicKey) != nil else {
      throw PKIError("the signing request's key is not ECDSA P-256")
    }
    return request.publicKey
  }

  private static func generalName(_ name: String) -> GeneralName {
    var v4 = in_addr()
    var v6 = in6_addr()
    if inet_pton(AF_INET, name, &v4) == 1 {
      return .ipAddress(ASN1OctetString(contentBytes: withUnsafeBytes(of: v4) { ArraySlice($0) }))
    }
    if inet_pton(AF_INET6, name, &v6) == 1 {
      return .ipAddress(ASN1OctetString(contentBytes: withUnsafeBytes(of: v6) { ArraySlice($0) }))
    }
    return .dnsName(name)
  }
}

extension Certificate {
  /// PEM that others can be appended to.
  fileprivate var pem: String { get throws { try serializeAsPEM().pemString + "\n" } }
}

/// The pin of a CA certificate: `sha256:` and the hex of the SHA-256 of its SubjectPublicKeyInfo.
public func caPin(of certificate: Certificate) throws -> String {
  var serializer = DER.Serializer()
  try serializer.serialize(certificate.publicKey)
  return "sha256:" + Hex.encode(SHA256.hash(data: serializer.serializedBytes))
}

/// The pin of a CA certificate in PEM.
public func caPin(ofPEM pem: String) throws -> String { try caPin(of: Certificate(pemEncoded: pem)) }

/// End of validity of the (first) certificate in PEM.
public func notValidAfter(ofPEM pem: String) throws -> Date { try Certificate(pemEncoded: pem).notValidAfter }
