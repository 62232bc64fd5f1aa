import AccessControl
import Foundation

/// Answer of `GET /v1/webapi/ping`.
public struct Ping: Codable, Sendable {
  /// Ways to log in.
  public struct Auth: Codable, Sendable {
    /// `local`: name and password.
    public var type = "local"
    public var secondFactor: SecondFactorMode

    enum CodingKeys: String, CodingKey {
      case type
      case secondFactor = "second_factor"
    }
  }
  /// Version of the server, without a `v`.
  public var serverVersion: String
  /// The cluster's name.
  public var clusterName: String
  /// How users log in.
  public var auth: Auth

  enum CodingKeys: String, CodingKey {
    case serverVersion = "server_version"
    case clusterName = "cluster_name"
    case auth
  }

  public init(serverVersion: String, clusterName: String, secondFactor: SecondFactorMode) {
    self.serverVersion = serverVersion
    self.clusterName = clusterName
    auth = Auth(secondFactor: secondFactor)
  }
}

/// Body of `POST /v1/webapi/login`.
public struct LoginRequest: Codable, Sendable {
  /// Who wants to log in.
  public var username: String
  /// The password; travels inside TLS only and is never logged.
  public var password: String
  /// A current code of the user's authenticator app.
  public var otp: String?
  /// PKCS #10 request with the client's public key; its subject is ignored.
  public var signingRequestPEM: String
  /// Wished life of the certificate; roles may shorten it. `nil`: 12 hours.
  public var ttlSeconds: Int?

  public init(
    username: String, password: String, otp: String? = nil, signingRequestPEM: String, ttlSeconds: Int?
  ) {
    self.username = username
    self.password = password
    self.otp = otp
    self.signingRequestPEM = signingRequestPEM
    self.ttlSeconds = ttlSeconds
  }
}

/// What a login gives: the user's certificate and whom to trust.
public struct LoginResponse: Codable, Sendable {
  /// The user's certificate.
  public var certificatePEM: String
  /// The user's name, as it stands in the certificate.
  public var username: String
  /// Roles in the certificate.
  public var roles: [String]
  /// Traits in the certificate.
  public var traits: [String: [String]]
  /// The cluster's name.
  public var clusterName: String
  /// End of the certificate's life.
  public var validUntil: Date
  /// CA that the cluster's hosts are trusted by.
  public var hostCAPEM: String

  public init(
    certificatePEM: String, username: String, roles: [String], traits: [String: [String]], clusterName: String,
    validUntil: Date, hostCAPEM: String
  ) {
    self.certificatePEM = certificatePEM
    self.username = username
    self.roles = roles
    self.traits = traits
    self.clusterName = clusterName
    self.validUntil = validUntil
    self.hostCAPEM = hostCAPEM
  }
}

/// Body of `POST /v1/certificates/database`.
public struct DatabaseCertificateRequest: Codable, Sendable {
  /// Name of the database in the cluster.
  public var service: String
  /// The only database user the certificate shall be good for; `nil`: any that roles allow.
  public var databaseUser: String?
  /// The only database name, likewise.
  public var databaseName: String?
  /// PKCS #10 request with the client's public key.
  public var signingRequestPEM: String

  public init(service: String, databaseUser: String?, databaseName: String?, signingRequestPEM: String) {
    self.service = service
    self.databaseUser = databaseUser
    self.databaseName = databaseName
    self.signingRequestPEM = signingRequestPEM
  }
}

/// Its answer.
public struct DatabaseCertificateResponse: Codable, Sendable {
  /// The certificate.
  public var certificatePEM: String
  /// End of its life: that of the login.
  public var validUntil: Date
  /// CAs that the cluster's hosts are trusted by now: a login made before a rotation learns of the new one here.
  public var hostCAPEM: String

  public init(certificatePEM: String, validUntil: Date, hostCAPEM: String) {
    self.certificatePEM = certificatePEM
    self.validUntil = validUntil
    self.hostCAPEM = hostCAPEM
  }
}

/// One database as its users see it.
public struct DatabaseListing: Codable, Sendable {
  /// Its name in the cluster.
  public var name: String
  /// For people; may be empty.
  public var description: String
  /// Always `postgres`.
  public var `protocol`: String
  /// Where the Database Service dials it.
  public var uri: String
  /// What roles select it by.
  public var labels: [String: String]
  /// Entries of the caller's roles that apply to it; patterns show as they are written.
  public var allowedUsers: [String]
  /// Likewise for database names.
  public var allowedNames: [String]
  /// Where it is described: `config-file` or `dynamic`.
  public var origin: String?

  public init(
    name: String, description: String, protocol: String, uri: String, labels: [String: String], allowedUsers: [String],
    allowedNames: [String], origin: String? = nil
  ) {
    self.name = name
    self.description = description
    self.protocol = `protocol`
    self.uri = uri
    self.labels = labels
    self.allowedUsers = allowedUsers
    self.allowedNames = allowedNames
    self.origin = origin
  }
}

/// Answer of `GET /v1/status`.
public struct ClusterStatus: Codable, Sendable {
  /// The cluster's name.
  public var clusterName: String
  /// Version of the server.
  public var version: String
  /// `sha256:HEX` of the host CA's public key, for joining hosts.
  public var caPins: [String]
  /// Where the rotation of each CA stands.
  public var authorities: [AuthorityStatus]

  public init(clusterName: String, version: String, caPins: [String], authorities: [AuthorityStatus]) {
    self.clusterName = clusterName
    self.version = version
    self.caPins = caPins
    self.authorities = authorities
  }
}

/// A user as administrators see it.
public struct UserListing: Codable, Sendable {
  /// Unique in the cluster.
  public var name: String
  /// Names of the user's roles.
  public var roles: [String]
  /// Values for templates in roles.
  public var traits: [String: [String]]

  public init(name: String, roles: [String], traits: [String: [String]]) {
    self.name = name
    self.roles = roles
    self.traits = traits
  }
}

/// Body of `PUT /v1/users/NAME`; `nil` leaves a field as it is.
public struct UserUpdate: Codable, Sendable {
  /// All roles the user shall have.
  public var roles: [String]?
  /// Traits to set; others stay.
  public var traits: [String: [String]]?

  public init(roles: [String]?, traits: [String: [String]]? = nil) {
    self.roles = roles
    self.traits = traits
  }
}

/// A sign-up link: lets one person set the password once.
public struct Invite: Codable, Sendable {
  /// Seconds that one may be good for.
  public static let lifetimes = 60...(48 * 3600)

  /// Whom it is for.
  public var user: String
  /// The link; whoever has it can set the password.
  public var url: String
  /// When it stops working.
  public var expires: Date

  public init(user: String, url: String, expires: Date) {
    self.user = user
    self.url = url
    self.expires = expires
  }
}

/// Body of `POST /v1/tokens`.
public struct TokenRequest: Codable, Sendable {
  /// Services that may join with it.
  public var roles: [String]
  /// Its life, 1 minute to 48 hours.
  public var ttlSeconds: Int

  public init(roles: [String], ttlSeconds: Int) {
    self.roles = roles
    self.ttlSeconds = ttlSeconds
  }
}

/// Its answer: the only time that the token can be seen; afterwards only a hash of it exists.
public struct TokenListing: Codable, Sendable {
  public var token: String?
  /// The beginning of the token's SHA-256: names it without giving it away.
  public var id: String
  /// Services that may join with it.
  public var roles: [String]
  /// When it stops working.
  public var expires: Date

  public init(token: String?, id: String, roles: [String], expires: Date) {
    self.token = token
    self.id = id
    self.roles = roles
    self.expires = expires
  }
}

/// Every answer that is not 2xx.
public struct ErrorBody: Codable, Sendable {
  /// An error in words.
  public struct Problem: Codable, Sendable {
    /// What is wrong.
    public var message: String
    /// What to do about it.
    public var hint: String?
    public init(message: String, hint: String?) {
      self.message = message
      self.hint = hint
    }
  }
  /// What went wrong.
  public var error: Problem
  public init(message: String, hint: String? = nil) { error = Problem(message: message, hint: hint) }
}

extension JSONEncoder {
  /// The encoder of the API on both sides.
  public static var api: JSONEncoder {
    let encoder = JSONEncoder()
    encoder.dateEncodingStrategy = .iso8601
    return encoder
  }
}

extension JSONDecoder {
  /// The decoder of the API on both sides.
  public static var api: JSONDecoder {
    let decoder = JSONDecoder()
    decoder.dateDecodingStrategy = .iso8601
    return decoder
  }
}
