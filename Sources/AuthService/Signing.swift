import AccessControl
import Audit
import ControlAPI
import Foundation
import PKI

/// Certificates that are made on request besides those of logins: for database servers, database users and programs.
extension AuthServer {
  private static let maximumNames = 32
  private static let longestLife = 10 * 365 * 86_400
  /// Seconds that a certificate for a database user is good for; agents keep it and ask again in time.
  private static let databaseClientLife = 3600.0
  /// PostgreSQL's names have at most 63 bytes.
  private static let longestUserName = 63

  /// A certificate for a database's server, of the db CA; the databases' own counterpart is the db_client CA.
  func signDatabaseServer(_ request: DatabaseServerCertificateRequest, by actor: String) throws -> SignedCertificate {
    guard (1...Self.maximumNames).contains(request.names.count), request.names.allSatisfy(Self.isHostName) else {
      throw AuthError.invalid(
        "the server needs 1 to \(Self.maximumNames) names",
        hint: "use --host=NAME,NAME with host names or IP addresses")
    }
    let authorities = try self.authorities.now
    let validUntil = try Self.end(afterSeconds: request.ttlSeconds)
    let certificate = try Self.forCaller {
      try authorities[.database].active.issueDatabaseServer(
        names: request.names, signingRequestPEM: request.signingRequestPEM, notAfter: validUntil)
    }
    emitCertificate("db_server", for: request.names.joined(separator: ","), by: actor)
    return SignedCertificate(
      certificatePEM: certificate, validUntil: validUntil, trustedPEMs: authorities.certificates.databaseClientPEMs)
  }

  /// A certificate that speaks for a database user: to a host, for a database that it serves now.
  func signDatabaseClient(
    _ request: DatabaseClientCertificateRequest, for host: HostIdentity
  ) throws -> SignedCertificate {
    guard try host.services.contains(.database) && serves(host.hostID, request.service) else {
      throw AuthError.forbidden("host '\(host.hostID)' does not serve database '\(request.service)'")
    }
    return try signDatabaseClient(request, by: host.hostID)
  }

  /// As above, for the Database Service of the same process.
  ///
  /// - Parameter hostID: for the record.
  public func signDatabaseClient(
    _ request: DatabaseClientCertificateRequest, by hostID: String
  ) throws -> SignedCertificate {
    guard (1...Self.longestUserName).contains(request.databaseUser.utf8.count) else {
      throw AuthError.invalid("a database user's name has 1 to \(Self.longestUserName) bytes")
    }
    let authorities = try self.authorities.now
    let validUntil = Date(timeIntervalSince1970: (Date().timeIntervalSince1970 + Self.databaseClientLife).rounded())
    let certificate = try Self.forCaller {
      try authorities[.databaseClient].active.issueDatabaseClient(
        user: request.databaseUser, signingRequestPEM: request.signingRequestPEM, notAfter: validUntil)
    }
    emitCertificate("db_client", for: request.databaseUser, service: request.service, by: hostID)
    return SignedCertificate(
      certificatePEM: certificate, validUntil: validUntil, trustedPEMs: authorities.certificates.databasePEMs)
  }

  /// An identity for a program, as if its user had logged in.
  ///
  /// Roles limit its life, unless the local administrator asks: automation outlives a working day.
  func signUser(_ request: UserCertificateRequest, by actor: String) throws -> SignedCertificate {
    guard let user = try user(request.username) else {
      throw AuthError.notFound("user '\(request.username)' does not exist; see 'tctl users ls'")
    }
    try refuseLocked(user: user.name, roles: user.roles)
    var seconds = request.ttlSeconds
    if actor != Self.localAdministrator {
      let checker = AccessChecker(roles: try roles(named: Set(user.roles)), traits: user.traits)
      seconds = min(seconds, checker.maxSessionTTL)
    }
    let validUntil = try Self.end(afterSeconds: seconds)
    let authorities = try self.authorities.now
    let identity = UserIdentity(username: user.name, roles: user.roles, traits: user.traits, clusterName: clusterName)
    let certificate = try Self.forCaller {
      try authorities[.user].active.issue(
        identity, signingRequestPEM: request.signingRequestPEM, notAfter: validUntil)
    }
    emitCertificate("user", for: user.name, by: actor)
    return SignedCertificate(
      certificatePEM: certificate, validUntil: validUntil, trustedPEMs: authorities.certificates.hostPEMs)
  }

  private static func end(afterSeconds seconds: Int) throws -> Date {
    guard (1...longestLife).contains(seconds) else { throw AuthError.invalid("the ttl must be from 1 s to ten years") }
    return Date(timeIntervalSince1970: (Date().timeIntervalSince1970 + Double(seconds)).rounded())
  }

  /// What is wrong with a signing request is for who sent it.
  static func forCaller<Value>(_ body: () throws -> Value) throws -> Value {
    do {
      return try body()
    } catch let error as PKIError {
      throw AuthError.invalid(error.description)
    }
  }

  private func emitCertificate(_ type: String, for subject: String, service: String? = nil, by actor: String) {
    var event = AuditEvent("cert.create", code: "TC000I")
    event.clusterName = clusterName
    event.user = actor
    event.name = subject
    event.databaseService = service
    event.extra = [("cert_type", .text(type))]
    audit.emit(event)
  }
}
