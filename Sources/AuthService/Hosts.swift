import AccessControl
import Audit
import ControlAPI
import Foundation
import PKI
import StateStore

/// Hosts that joined: their certificates, what they offer, and the snapshot they decide by.
extension AuthServer {
  private static let maximumNames = 32

  // MARK: Joining

  /// Makes a host a member: checks the token, decides every field of the certificate.
  public func join(_ request: JoinRequest, from address: String) throws -> HostCertificate {
    var event = joinEvent(of: request, from: address)
    do {
      let certificate = try admit(request, from: address)
      record(certificate, of: request, &event)
      return certificate
    } catch {
      record(error, &event)
      throw error
    }
  }

  /// As `join(_:from:)` does: records what comes of `admit`, which may add to the record.
  func recordingJoin(
    of request: JoinRequest, from address: String, _ admit: (inout AuditEvent) async throws -> HostCertificate
  ) async throws -> HostCertificate {
    var event = joinEvent(of: request, from: address)
    do {
      let certificate = try await admit(&event)
      record(certificate, of: request, &event)
      return certificate
    } catch {
      record(error, &event)
      throw error
    }
  }

  private func joinEvent(of request: JoinRequest, from address: String) -> AuditEvent {
    var event = AuditEvent("instance.join", code: "TJ002I")
    event.clientAddress = address
    event.name = request.hostName
    return event
  }

  private func record(_ certificate: HostCertificate, of request: JoinRequest, _ event: inout AuditEvent) {
    event.success = true
    event.message = "host \(certificate.hostID) joined for \(request.services.joined(separator: ", "))"
    audit.emit(event)
  }

  private func record(_ failure: any Error, _ event: inout AuditEvent) {
    event.code = "TJ002W"
    event.success = false
    event.message = "\(failure)"
    audit.emit(event)
  }

  /// The services that a host wants to join for.
  static func services(of request: JoinRequest) throws -> [ServiceRole] {
    let services = request.services.compactMap(ServiceRole.init(rawValue:))
    guard !services.isEmpty, services.count == request.services.count, !services.contains(.auth) else {
      throw AuthError.invalid("a host joins for proxy, db, discovery or several of them")
    }
    return services
  }

  private func admit(_ request: JoinRequest, from address: String) throws -> HostCertificate {
    try joinGate.enter(address)
    let services = try Self.services(of: request)
    let wanted = Set(services.map(\.rawValue))
    guard try state.database.read({ try tokenAllows(request.token, wanted, in: $0) }) else {
      joinGate.refused(address)
      // One answer for unknown, expired and foreign tokens: a guess learns nothing.
      throw AuthError.unauthenticated(
        "the join token is not valid for this; make one with 'tctl tokens add --type=\(request.services.joined(separator: ","))'"
      )
    }
    return try makeMember(request, services)
  }

  /// The certificate of a host that has proved that it may join.
  func makeMember(_ request: JoinRequest, _ services: [ServiceRole]) throws -> HostCertificate {
    guard Role.isValidName(request.hostName) else { throw AuthError.invalid("the host's name is not a valid name") }
    let identity = HostIdentity(
      hostID: UUID().uuidString.lowercased(), name: request.hostName, services: services, clusterName: clusterName)
    return try certify(identity, publicNames: request.publicNames, request.signingRequestPEM)
  }

  /// Whether a token, of the configuration or of `tctl tokens add`, is good for all `wanted` services.
  func tokenAllows(_ token: String, _ wanted: Set<String>, in database: Database) throws -> Bool {
    let hash = OneTimeSecret.hash(token)
    if let roles = staticTokens[hash], wanted.isSubset(of: roles) { return true }
    let roles = try String.fetchOne(
      database, sql: "SELECT roles FROM token WHERE hash = ? AND expires > ?",
      arguments: [hash, Date().timeIntervalSince1970])
    return roles.map { wanted.isSubset(of: $0.split(separator: ",").map(String.init)) } ?? false
  }

  /// A further certificate for a host that has a good one.
  func renew(_ identity: HostIdentity, _ request: RenewalRequest) throws -> HostCertificate {
    try certify(identity, publicNames: request.publicNames, request.signingRequestPEM)
  }

  private func certify(
    _ identity: HostIdentity, publicNames: [String], _ signingRequestPEM: String
  ) throws -> HostCertificate {
    // Only a proxy is dialled by a name of its own.
    let names = identity.services.contains(.proxy) ? publicNames : []
    guard names.count <= Self.maximumNames, names.allSatisfy(Self.isHostName) else {
      throw AuthError.invalid(
        "the proxy's public names must be host names or IP addresses, at most \(Self.maximumNames)")
    }
    let validUntil = Date(timeIntervalSince1970: (Date().timeIntervalSince1970 + hostCertificateLifetime).rounded())
    let authorities = try self.authorities.now
    let certificate = try Self.forCaller {
      try authorities[.host].active.issueHost(
        identity, names: names, signingRequestPEM: signingRequestPEM, notAfter: validUntil)
    }
    return HostCertificate(
      hostID: identity.hostID, clusterName: clusterName, certificatePEM: certificate, issued: Date(),
      validUntil: validUntil, authorities: authorities.certificates)
  }

  static func isHostName(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.count <= 253
      && name.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
          || ".-_:".utf8.contains(byte)
      }
  }

  // MARK: Snapshot

  /// The state that hosts decide by, once it is newer than `revision` or `seconds` are over.
  func snapshot(after revision: Int64, waiting seconds: Double) async throws -> ClusterSnapshot {
    let deadline = Date() + seconds
    // The whole is read once, for the answer. A change between looking and waiting is missed for a second at most.
    while try self.revision <= revision {
      let left = deadline.timeIntervalSinceNow
      guard left > 0 else { break }
      try await changes.wait(seconds: min(left, 0.5))
    }
    return try snapshot()
  }

  /// Counts the changes of what snapshots hold.
  public var revision: Int64 { get throws { try state.database.read { try state.revision($0) } } }

  /// Returns at the next change of what snapshots hold, or after `seconds`.
  public func waitForChange(seconds: Double) async throws {
    try await changes.wait(seconds: seconds)
  }

  /// HOST:PORT of the proxies that report to the cluster.
  public func proxies() throws -> [String] { try state.database.read { try Self.proxies(in: $0) } }

  private static func proxies(in database: Database) throws -> [String] {
    try String.fetchAll(
      database, sql: "SELECT DISTINCT address FROM host_proxy WHERE expires > ? ORDER BY address",
      arguments: [Date().timeIntervalSince1970])
  }

  private func snapshot() throws -> ClusterSnapshot {
    let authorities = try authorityCertificates
    return try state.database.read { database in
      ClusterSnapshot(
        revision: try state.revision(database), clusterName: clusterName, authorities: authorities,
        roles: try Self.roles(in: database),
        users: try Row.fetchAll(database, sql: "SELECT * FROM cluster_user ORDER BY name").map {
          try StoredUser(row: $0).listing
        },
        proxies: try Self.proxies(in: database), locks: try Self.locks(in: database),
        databases: try Self.servableDatabases(in: database))
    }
  }

  // MARK: Heartbeats

  private static let maximumDatabases = 10_000

  /// Enters what a host offers, for `HostHeartbeat.lifetime` seconds.
  public func heartbeat(_ beat: HostHeartbeat, of host: HostIdentity) throws {
    let (hostID, services) = (host.hostID, host.services)
    guard beat.databases.count <= Self.maximumDatabases else {
      throw AuthError.invalid("a host serves at most \(Self.maximumDatabases) databases")
    }
    guard beat.proxyAddress == nil || services.contains(.proxy),
      beat.databases.isEmpty || services.contains(.database)
    else { throw AuthError.forbidden("the host did not join for what it offers") }
    let now = Date().timeIntervalSince1970
    let expires = now + Double(HostHeartbeat.lifetime)
    let records = try beat.databases.map { record in
      guard Role.isValidName(record.name) else { throw AuthError.invalid("a database has an invalid name") }
      return (record.name, String(decoding: try JSONEncoder.api.encode(record), as: UTF8.self))
    }
    try state.database.write { database in
      try database.execute(sql: "DELETE FROM host_database WHERE expires <= ? OR host = ?", arguments: [now, hostID])
      for (name, json) in records {
        try database.execute(
          sql: """
            INSERT INTO host_database VALUES (?, ?, ?, ?)
            ON CONFLICT (host, name) DO UPDATE SET json = excluded.json, expires = excluded.expires
            """, arguments: [hostID, name, json, expires])
      }
      try Self.enter(host, version: beat.version, now: now, in: database)
      try Self.enterProxy(beat.proxyAddress, of: hostID, now: now, expires: expires, in: database)
    }
  }

  /// Proxies are part of the snapshot: the table is written only when their list changes, or an entry gets old.
  private static func enterProxy(
    _ address: String?, of hostID: String, now: Double, expires: Double, in database: Database
  ) throws {
    let gone =
      try Int.fetchOne(
        database, sql: "SELECT count(*) FROM host_proxy WHERE expires <= ?", arguments: [now]) ?? 0
    if gone > 0 { try database.execute(sql: "DELETE FROM host_proxy WHERE expires <= ?", arguments: [now]) }
    guard let address else { return }
    let known = try Row.fetchOne(
      database, sql: "SELECT address, expires FROM host_proxy WHERE host = ?", arguments: [hostID])
    let refreshAt = expires - Double(HostHeartbeat.lifetime) / 2
    if let known, try known["address"] == address, try known["expires"] > refreshAt { return }
    try database.execute(
      sql: """
        INSERT INTO host_proxy VALUES (?, ?, ?)
        ON CONFLICT (host) DO UPDATE SET address = excluded.address, expires = excluded.expires
        """, arguments: [hostID, address, expires])
  }

  /// The host is leaving in good order.
  public func farewell(of hostID: String) throws {
    try state.database.write { database in
      try database.execute(sql: "DELETE FROM host_database WHERE host = ?", arguments: [hostID])
      try database.execute(sql: "DELETE FROM host_proxy WHERE host = ?", arguments: [hostID])
      try database.execute(sql: "DELETE FROM session_lease WHERE host = ?", arguments: [hostID])
    }
  }

  /// IDs of the hosts that offer databases now.
  func liveHosts() throws -> Set<String> {
    let hosts = try state.database.read { database in
      try String.fetchAll(
        database, sql: "SELECT DISTINCT host FROM host_database WHERE expires > ?",
        arguments: [Date().timeIntervalSince1970])
    }
    return Set(hosts)
  }

  /// All databases that hosts offer now, each name once.
  func databases() throws -> [DatabaseRecord] {
    let texts = try state.database.read { database in
      try String.fetchAll(
        database, sql: "SELECT min(json) FROM host_database WHERE expires > ? GROUP BY name ORDER BY name",
        arguments: [Date().timeIntervalSince1970])
    }
    return try records.read(texts)
  }
}
