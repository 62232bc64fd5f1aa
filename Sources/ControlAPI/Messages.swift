import AccessControl
import Foundation

/// Answer of `GET /v1/webapi/ping`.
public struct Ping: Codable, Sendable {
  public struct Auth: Codable, Sendable {
    public var type = "local"
    public var secondFactor: SecondFactorMode

    enum CodingKeys: String, CodingKey {
      case type
      case secondFactor = "second_factor"
    }
  }
  public var serverVersion: String
  public var clusterName: String
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
  public var username: String
  public var password: String
  /// A current code of the user's authenticator app.
  public var otp: String?
  public var signingRequestPEM: String
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
  public var certificatePEM: String
  public var username: String
  public var roles: [String]
  public var traits: [String: [String]]
  public var clusterName: String
  public var validUntil: Date
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
  public var service: String
  public var databaseUser: String?
  public var databaseName: String?
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
  public var certificatePEM: String
  public var validUntil: Date

  public init(certificatePEM: String, validUntil: Date) {
    self.certificatePEM = certificatePEM
    self.validUntil = validUntil
  }
}

/// One database as its users see it.
public struct DatabaseListing: Codable, Sendable {
  public var name: String
  public var description: String
  public var `protocol`: String
  public var uri: String
  public var labels: [String: String]
  public var allowedUsers: [String]
  public var allowedNames: [String]

  public init(
    name: String, description: String, protocol: String, uri: String, labels: [String: String], allowedUsers: [String],
    allowedNames: [String]
  ) {
    self.name = name
    self.description = description
    self.protocol = `protocol`
    self.uri = uri
    self.labels = labels
    self.allowedUsers = allowedUsers
    self.allowedNames = allowedNames
  }
}

/// Answer of `GET /v1/status`.
public struct ClusterStatus: Codable, Sendable {
  public var clusterName: String
  public var version: String
  public var caPins: [String]

  public init(clusterName: String, version: String, caPins: [String]) {
    self.clusterName = clusterName
    self.version = version
    self.caPins = caPins
  }
}

/// A user as administrators see it.
public struct UserListing: Codable, Sendable {
  public var name: String
  public var roles: [String]
  public var traits: [String: [String]]

  public init(name: String, roles: [String], traits: [String: [String]]) {
    self.name = name
    self.roles = roles
    self.traits = traits
  }
}

/// Body of `PUT /v1/users/NAME`; `nil` leaves a field as it is.
public struct UserUpdate: Codable, Sendable {
  public var roles: [String]?
  public var traits: [String: [String]]?

  public init(roles: [String]?, traits: [String: [String]]? = nil) {
    self.roles = roles
    self.traits = traits
  }
}

/// A sign-up link: lets one person set the password once.
public struct Invite: Codable, Sendable {
  public var user: String
  public var url: String
  public var expires: Date

  public init(user: String, url: String, expires: Date) {
    self.user = user
    self.url = url
    self.expires = expires
  }
}

/// Body of `POST /v1/tokens`.
public struct TokenRequest: Codable, Sendable {
  public var roles: [String]
  public var ttlSeconds: Int

  public init(roles: [String], ttlSeconds: Int) {
    self.roles = roles
    self.ttlSeconds = ttlSeconds
  }
}

/// A join token. `token` is there once, in the answer to its making; afterwards only a hash of it exists.
public struct TokenListing: Codable, Sendable {
  public var token: String?
  /// The beginning of the token's SHA-256: names it without giving it away.
  public var id: String
  public var roles: [String]
  public var expires: Date

  public init(token: String?, id: String, roles: [String], expires: Date) {
    self.token = token
    self.id = id
    self.roles = roles
    self.expires = expires
  }
}

/// Body of `POST /v1/roles`.
public struct RoleRequest: Codable, Sendable {
  public var role: Role
  /// Whether an existing role of that name may be replaced.
  public var force: Bool

  public init(role: Role, force: Bool) {
    self.role = role
    self.force = force
  }
}

/// Its answer.
public struct RoleResponse: Codable, Sendable {
  public var replaced: Bool
  public init(replaced: Bool) { self.replaced = replaced }
}

/// Every answer that is not 2xx.
public struct ErrorBody: Codable, Sendable {
  public struct Problem: Codable, Sendable {
    public var message: String
    public var hint: String?
    public init(message: String, hint: String?) {
      self.message = message
      self.hint = hint
    }
  }
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
