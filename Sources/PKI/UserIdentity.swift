import Foundation
import SwiftASN1
import X509

/// Which database a certificate opens; fields left `nil` are the client's choice.
public struct DatabaseRoute: Codable, Sendable, Equatable {
  public var service: String
  public var databaseUser: String?
  public var databaseName: String?

  public init(service: String, databaseUser: String? = nil, databaseName: String? = nil) {
    self.service = service
    self.databaseUser = databaseUser
    self.databaseName = databaseName
  }
}

/// Who a user certificate speaks for. Carried in a private extension as versioned JSON, never in split strings.
public struct UserIdentity: Codable, Sendable, Equatable {
  public var username: String
  public var roles: [String]
  public var traits: [String: [String]]
  public var clusterName: String
  public var route: DatabaseRoute?
  /// End of validity of the certificate it was read from.
  public var notValidAfter: Date = .distantPast

  enum CodingKeys: String, CodingKey { case username, roles, traits, clusterName, route }

  public init(
    username: String, roles: [String], traits: [String: [String]] = [:], clusterName: String,
    route: DatabaseRoute? = nil
  ) {
    self.username = username
    self.roles = roles
    self.traits = traits
    self.clusterName = clusterName
    self.route = route
  }

  /// Under the UUID arc (ITU-T X.667), which needs no registration.
  static let extensionID: ASN1ObjectIdentifier = [2, 25, 1_739_204_651, 1]
  private static let version: UInt8 = 1
  private static let maximumLength = 16 * 1024

  /// Reads the identity of a certificate that TLS has verified already.
  public init(certificateDER: [UInt8]) throws { try self.init(Certificate(derEncoded: certificateDER)) }

  /// Reads the identity of a stored certificate: of the first in `certificatePEM`, unverified.
  public init(certificatePEM: String) throws { try self.init(Certificate(pemEncoded: certificatePEM)) }

  private init(_ certificate: Certificate) throws {
    guard let field = certificate.extensions[oid: Self.extensionID] else {
      throw PKIError("the certificate carries no Sallyport identity; it was not issued by 'tsh login'")
    }
    guard field.value.count <= Self.maximumLength, field.value.first == Self.version else {
      throw PKIError("the certificate's identity is too long or of an unknown version")
    }
    self = try JSONDecoder().decode(UserIdentity.self, from: Data(field.value.dropFirst()))
    notValidAfter = certificate.notValidAfter
  }

  func certificateExtension() throws -> Certificate.Extension {
    let value = [Self.version] + (try JSONEncoder().encode(self))
    guard value.count <= Self.maximumLength else {
      throw PKIError("the roles and traits of '\(username)' are too long for a certificate")
    }
    return Certificate.Extension(oid: Self.extensionID, critical: false, value: value[...])
  }
}
