import Foundation
import SwiftASN1
import X509

/// Which database a certificate opens; fields left `nil` are the client's choice.
public struct DatabaseRoute: Codable, Sendable, Equatable {
  /// Name of the database in the cluster.
  public var service: String
  /// The only database user it is good for.
  public var databaseUser: String?
  /// The only database name it is good for.
  public var databaseName: String?

  public init(service: String, databaseUser: String? = nil, databaseName: String? = nil) {
    self.service = service
    self.databaseUser = databaseUser
    self.databaseName = databaseName
  }
}

/// Who a user certificate speaks for. Carried in a private extension as versioned JSON, never in split strings.
public struct UserIdentity: Codable, Sendable, Equatable {
  /// The user.
  public var username: String
  /// Roles at the time of the login.
  public var roles: [String]
  /// Traits at the time of the login.
  public var traits: [String: [String]]
  /// The cluster that issued it.
  public var clusterName: String
  /// The database it is for; `nil` for a login's certificate, which alone speaks for its user to the API.
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

  /// Reads the identity of a certificate that TLS has verified already.
  public init(certificateDER: [UInt8]) throws { try self.init(Certificate(derEncoded: certificateDER)) }

  /// Reads the identity of a stored certificate: of the first in `certificatePEM`, unverified.
  public init(certificatePEM: String) throws { try self.init(Certificate(pemEncoded: certificatePEM)) }

  private init(_ certificate: Certificate) throws {
    guard let identity = try IdentityCoding.decode(Self.self, Self.extensionID, of: certificate) else {
      throw PKIError("the certificate carries no Sallyport identity; it was not issued by 'tsh login'")
    }
    self = identity
    notValidAfter = certificate.notValidAfter
  }

  func certificateExtension() throws -> Certificate.Extension {
    let value = [IdentityCoding.version] + (try JSONEncoder().encode(self))
    guard value.count <= IdentityCoding.maximumLength else {
      throw PKIError("the roles and traits of '\(username)' are too long for a certificate")
    }
    return Certificate.Extension(oid: Self.extensionID, critical: false, value: value[...])
  }
}
