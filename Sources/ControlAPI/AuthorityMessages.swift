import Foundation

/// CA certificates to trust, by purpose. While a rotation is under way there are two of a kind: first the one that issues.
public struct AuthorityCertificates: Codable, Sendable, Equatable {
  public var userPEMs: [String]
  public var hostPEMs: [String]
  /// Those that database servers with certificates of the cluster are trusted by.
  public var databasePEMs: [String]
  /// Those that databases trust the Database Service by.
  public var databaseClientPEMs: [String]
  /// By which the two host CAs of a rotation vouch for each other: sent along by servers, for clients that know one only.
  public var hostBridgePEMs: [String]
  /// Where the rotation of the host CA stands.
  public var hostPhase: RotationPhase

  public init(
    userPEMs: [String], hostPEMs: [String], databasePEMs: [String] = [], databaseClientPEMs: [String] = [],
    hostBridgePEMs: [String] = [], hostPhase: RotationPhase = .standby
  ) {
    self.userPEMs = userPEMs
    self.hostPEMs = hostPEMs
    self.databasePEMs = databasePEMs
    self.databaseClientPEMs = databaseClientPEMs
    self.hostBridgePEMs = hostBridgePEMs
    self.hostPhase = hostPhase
  }

  /// What hosts of earlier versions stored lacks the later fields.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    userPEMs = try values.decode([String].self, forKey: .userPEMs)
    hostPEMs = try values.decode([String].self, forKey: .hostPEMs)
    databasePEMs = try values.decodeIfPresent([String].self, forKey: .databasePEMs) ?? []
    databaseClientPEMs = try values.decodeIfPresent([String].self, forKey: .databaseClientPEMs) ?? []
    hostBridgePEMs = try values.decodeIfPresent([String].self, forKey: .hostBridgePEMs) ?? []
    hostPhase = try values.decodeIfPresent(RotationPhase.self, forKey: .hostPhase) ?? .standby
  }
}

/// Where the rotation of a CA stands.
public enum RotationPhase: String, Codable, Sendable, CaseIterable {
  /// None is under way: one CA issues and is trusted.
  case standby
  /// A new CA is made and trusted beside the old one, which goes on issuing.
  case begun = "init"
  /// The new CA issues; hosts present its certificates when they dial.
  case updateClients = "update_clients"
  /// Hosts present them when they are dialled, too.
  case updateServers = "update_servers"
  /// The old CA issues again, the new one is still trusted.
  case rollback

  /// Whether a rotation may go from here to `next`.
  public func leads(to next: RotationPhase) -> Bool {
    switch (self, next) {
    case (.standby, .begun), (.begun, .updateClients), (.updateClients, .updateServers), (.updateServers, .standby),
      (.rollback, .standby):
      true
    case (.begun, .rollback), (.updateClients, .rollback), (.updateServers, .rollback): true
    default: false
    }
  }

  /// Where it goes by itself; `nil` where a person has to decide.
  public var following: RotationPhase? {
    switch self {
    case .begun: .updateClients
    case .updateClients: .updateServers
    case .updateServers: .standby
    case .standby, .rollback: nil
    }
  }
}

/// Body of `POST /v1/cas/rotate`.
public struct RotationRequest: Codable, Sendable {
  /// Kinds of CAs: `host`, `user`, `db`, `db_client`. All take the step or none does.
  public var kinds: [String]
  public var phase: RotationPhase
  /// Whether further phases wait for further requests, or come by themselves.
  public var isManual: Bool
  /// Seconds from `init` to `standby`, for a rotation that goes on by itself.
  public var graceSeconds: Int

  public init(kinds: [String], phase: RotationPhase, isManual: Bool, graceSeconds: Int) {
    self.kinds = kinds
    self.phase = phase
    self.isManual = isManual
    self.graceSeconds = graceSeconds
  }
}

/// Where the rotation of one CA stands.
public struct AuthorityStatus: Codable, Sendable, Equatable {
  public var kind: String
  public var phase: RotationPhase
  public var isManual: Bool
  /// When the phase began; `nil` if the CA was never rotated.
  public var since: Date?
  /// When the next phase comes by itself.
  public var nextPhase: Date?
  /// End of the last rotation that was not rolled back.
  public var lastRotated: Date?

  public init(
    kind: String, phase: RotationPhase, isManual: Bool, since: Date?, nextPhase: Date?, lastRotated: Date?
  ) {
    self.kind = kind
    self.phase = phase
    self.isManual = isManual
    self.since = since
    self.nextPhase = nextPhase
    self.lastRotated = lastRotated
  }
}

/// Body of `POST /v1/certificates/database-server`: a certificate for a database's own server.
public struct DatabaseServerCertificateRequest: Codable, Sendable {
  /// Host names and IP addresses that it is dialled by.
  public var names: [String]
  public var ttlSeconds: Int
  public var signingRequestPEM: String

  public init(names: [String], ttlSeconds: Int, signingRequestPEM: String) {
    self.names = names
    self.ttlSeconds = ttlSeconds
    self.signingRequestPEM = signingRequestPEM
  }
}

/// Body of `POST /v1/certificates/database-client`: a host that serves a database asks to speak for one of its users.
public struct DatabaseClientCertificateRequest: Codable, Sendable {
  /// Name of the database in the cluster; the host must serve it.
  public var service: String
  public var databaseUser: String
  public var signingRequestPEM: String

  public init(service: String, databaseUser: String, signingRequestPEM: String) {
    self.service = service
    self.databaseUser = databaseUser
    self.signingRequestPEM = signingRequestPEM
  }
}

/// Body of `POST /v1/certificates/user`: an identity for a program, made by an administrator.
public struct UserCertificateRequest: Codable, Sendable {
  public var username: String
  public var ttlSeconds: Int
  public var signingRequestPEM: String

  public init(username: String, ttlSeconds: Int, signingRequestPEM: String) {
    self.username = username
    self.ttlSeconds = ttlSeconds
    self.signingRequestPEM = signingRequestPEM
  }
}

/// The answer to all three.
public struct SignedCertificate: Codable, Sendable {
  public var certificatePEM: String
  public var validUntil: Date
  /// CAs that its holder trusts the other side by.
  public var trustedPEMs: [String]

  public init(certificatePEM: String, validUntil: Date, trustedPEMs: [String]) {
    self.certificatePEM = certificatePEM
    self.validUntil = validUntil
    self.trustedPEMs = trustedPEMs
  }
}

/// A host of the cluster, in the answer of `GET /v1/inventory`.
public struct HostListing: Codable, Sendable {
  public var hostID: String
  public var name: String
  public var services: [String]
  public var version: String
  public var lastSeen: Date
  /// End of the certificate it was last seen with.
  public var certificateExpires: Date
  /// Name of the lock that shuts it out.
  public var lock: String?

  public init(
    hostID: String, name: String, services: [String], version: String, lastSeen: Date, certificateExpires: Date,
    lock: String?
  ) {
    self.hostID = hostID
    self.name = name
    self.services = services
    self.version = version
    self.lastSeen = lastSeen
    self.certificateExpires = certificateExpires
    self.lock = lock
  }
}
