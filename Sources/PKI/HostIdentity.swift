import Foundation
import SwiftASN1
import X509

/// A service that a host of the cluster runs, as join tokens and host certificates name it.
public enum ServiceRole: String, Codable, Sendable, CaseIterable {
  case auth, proxy, discovery
  case database = "db"
}

/// Which host of which cluster a host certificate speaks for, and the services it may run. Carried in a private
/// extension as versioned JSON, like `UserIdentity`.
public struct HostIdentity: Codable, Sendable, Equatable {
  /// Random, given by the Auth Service at the join; stays over renewals.
  public var hostID: String
  /// The name its administrator gave it; for listings only.
  public var name: String
  public var services: [ServiceRole]
  public var clusterName: String
  /// End of validity of the certificate it was read from.
  public var notValidAfter: Date = .distantPast

  enum CodingKeys: String, CodingKey { case hostID, name, services, clusterName }

  public init(hostID: String, name: String, services: [ServiceRole], clusterName: String) {
    self.hostID = hostID
    self.name = name
    self.services = services
    self.clusterName = clusterName
  }

  static let extensionID: ASN1ObjectIdentifier = [2, 25, 1_739_204_651, 2]

  /// The DNS name that stands for a host within its cluster, in the SAN of its certificate.
  public static func dnsName(hostID: String, clusterName: String) -> String { "\(hostID).\(clusterName)" }

  func certificateExtension() throws -> Certificate.Extension {
    Certificate.Extension(
      oid: Self.extensionID, critical: false, value: [IdentityCoding.version] + (try JSONEncoder().encode(self)))
  }
}

/// How identities are laid into a certificate's extension.
enum IdentityCoding {
  static let version: UInt8 = 1
  static let maximumLength = 16 * 1024

  static func decode<Identity: Decodable>(
    _ type: Identity.Type, _ oid: ASN1ObjectIdentifier, of certificate: Certificate
  ) throws -> Identity? {
    guard let field = certificate.extensions[oid: oid] else { return nil }
    guard field.value.count <= maximumLength, field.value.first == version else {
      throw PKIError("the certificate's identity is too long or of an unknown version")
    }
    return try JSONDecoder().decode(type, from: Data(field.value.dropFirst()))
  }
}

/// The cluster's CA certificates, old and new ones while a rotation is under way: says whom a certificate speaks for.
///
/// A second look besides TLS: the certificates that cross a tunnel or a forwarding proxy were not verified by the TLS of
/// the one who has to trust them. Immutable.
public struct TrustedAuthorities: Sendable {
  private let user: [Certificate]
  private let host: [Certificate]
  private let verifiedUsers = VerifiedUsers()

  public init(userPEMs: [String], hostPEMs: [String]) throws {
    user = try userPEMs.map { try Certificate(pemEncoded: $0) }
    host = try hostPEMs.map { try Certificate(pemEncoded: $0) }
  }

  /// The user a certificate (DER) speaks for, if a user CA of the cluster signed it, it is valid now and carries one.
  public func user(certificateDER: [UInt8], now: Date = Date()) throws -> UserIdentity {
    if let known = verifiedUsers.identity(certificateDER, now) { return known }
    let certificate = try verified(certificateDER, under: user, now)
    guard var identity = try IdentityCoding.decode(UserIdentity.self, UserIdentity.extensionID, of: certificate) else {
      throw PKIError("the certificate carries no Sallyport identity; it was not issued by 'tsh login'")
    }
    identity.notValidAfter = certificate.notValidAfter
    verifiedUsers.keep(identity, certificateDER, from: certificate.notValidBefore)
    return identity
  }

  /// The host a certificate (DER) speaks for, under the host CA.
  public func host(certificateDER: [UInt8], now: Date = Date()) throws -> HostIdentity {
    let certificate = try verified(certificateDER, under: host, now)
    guard var identity = try IdentityCoding.decode(HostIdentity.self, HostIdentity.extensionID, of: certificate) else {
      throw PKIError("the certificate is not one of a host that joined the cluster")
    }
    identity.notValidAfter = certificate.notValidAfter
    return identity
  }

  /// Leaf directly under one of `authorities`, for clients, valid now: nothing else counts, no chain is built.
  private func verified(_ der: [UInt8], under authorities: [Certificate], _ now: Date) throws -> Certificate {
    let certificate: Certificate
    do {
      certificate = try Certificate(derEncoded: der)
    } catch {
      throw PKIError("the certificate cannot be read")
    }
    guard authorities.contains(where: { $0.publicKey.isValidSignature(certificate.signature, for: certificate) }) else {
      throw PKIError("the certificate was not issued by a CA that this cluster trusts (any more)")
    }
    guard certificate.notValidBefore <= now, now < certificate.notValidAfter else {
      throw PKIError("the certificate has expired or is not valid yet; run 'tsh login'")
    }
    if case .isCertificateAuthority? = try certificate.extensions.basicConstraints {
      throw PKIError("the certificate is a CA's")
    }
    guard try certificate.extensions.extendedKeyUsage?.contains(.clientAuth) == true else {
      throw PKIError("the certificate is not meant for clients")
    }
    return certificate
  }
}
