import AccessControl
import Audit
import ControlAPI
import Foundation
import StateStore

extension AuthServer {
  // MARK: Roles

  func roles() throws -> [Role] {
    try state.database.read { try Self.roles(in: $0) }
  }

  static func roles(in database: Database) throws -> [Role] {
    try Row.fetchAll(database, sql: "SELECT name, json FROM role ORDER BY name").map(Self.role)
  }

  /// Those of `names` that exist. Other roles are not even read: one that cannot be is the concern of its holders only.
  func roles(named names: Set<String>) throws -> [Role] {
    try names.sorted().compactMap { name in
      try decisions.role(name) {
        try state.database.read { database in
          try Row.fetchOne(database, sql: "SELECT name, json FROM role WHERE name = ?", arguments: [name]).map(
            Self.role)
        }
      }
    }
  }

  /// Makes a role, or replaces one.
  func putRole(_ request: ResourceRequest<Role>, by actor: String) throws -> ResourceResponse {
    try request.validate()
    let name = request.resource.name
    let replaced = try state.database.write { database in
      let present = try Row.fetchOne(database, sql: "SELECT name, json FROM role WHERE name = ?", arguments: [name])
      // One that cannot be read any more is there to be replaced.
      let replaced = try request.check(exists: present != nil) { try? present.map(Self.role) }
      try Self.store(request.stored, in: database)
      return replaced
    }
    emit(replaced ? "role.updated" : "role.created", replaced ? "T9002I" : "T9000I", name: name, by: actor)
    return ResourceResponse(name: name, replaced: replaced)
  }

  func removeRole(_ name: String, by actor: String) throws {
    let holders = try users().filter { $0.roles.contains(name) }.map(\.name)
    guard holders.isEmpty else {
      throw AuthError.invalid(
        "role '\(name)' is held by \(holders.joined(separator: ", "))", hint: "take it from them first")
    }
    try state.database.write { database in
      try database.execute(sql: "DELETE FROM role WHERE name = ?", arguments: [name])
      guard database.changesCount > 0 else {
        throw AuthError.notFound("role '\(name)' does not exist; see 'tctl get roles'")
      }
    }
    emit("role.deleted", "T9001I", name: name, by: actor)
  }

  static func store(_ role: Role, in database: Database) throws {
    let json = String(decoding: try JSONEncoder().encode(role), as: UTF8.self)
    try database.execute(
      sql: "INSERT INTO role VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET json = excluded.json",
      arguments: [role.metadata.name, json])
  }

  /// Roles are checked again when they are read: a later version may refuse what an earlier one took.
  private static func role(_ row: Row) throws -> Role {
    let (name, json): (String, String) = try (row["name"], row["json"])
    do {
      return try JSONDecoder().decode(Role.self, from: Data(json.utf8))
    } catch {
      throw AuthError.internal(
        "role '\(name)' as stored cannot be evaluated (\(error)); replace it with 'tctl create --force'")
    }
  }

  // MARK: Join tokens

  /// Services that a token can be for.
  static let tokenRoles: Set<String> = ["db", "proxy", "node", "auth", "app", "kube", "discovery"]
  static let tokenLifetimes = 60...(48 * 3600)

  func addToken(_ request: TokenRequest, by actor: String) throws -> TokenListing {
    guard !request.roles.isEmpty, Set(request.roles).isSubset(of: Self.tokenRoles) else {
      throw AuthError.invalid("token type must be among \(Self.tokenRoles.sorted().joined(separator: ", "))")
    }
    guard Self.tokenLifetimes.contains(request.ttlSeconds) else {
      throw AuthError.invalid("a token lives 1 minute to 48 hours")
    }
    let secret = OneTimeSecret.make()
    let hash = OneTimeSecret.hash(secret)
    let expires = Date() + Double(request.ttlSeconds)
    try state.database.write { database in
      try database.execute(sql: "DELETE FROM token WHERE expires <= ?", arguments: [Date().timeIntervalSince1970])
      try database.execute(
        sql: "INSERT INTO token VALUES (?, ?, ?)",
        arguments: [hash, request.roles.joined(separator: ","), expires.timeIntervalSince1970])
    }
    emit("join_token.create", "TJT00I", name: String(hash.prefix(12)), by: actor)
    return TokenListing(token: secret, id: String(hash.prefix(12)), roles: request.roles, expires: expires)
  }

  /// Removes by the id that lists show, or by the token itself.
  func removeToken(_ name: String, by actor: String) throws {
    if try removeIAMToken(name, by: actor) { return }
    guard name.utf8.count >= 12 else { throw AuthError.notFound("no such token; see 'tctl tokens ls'") }
    try state.database.write { database in
      try database.execute(
        sql: "DELETE FROM token WHERE substr(hash, 1, 12) = ? OR hash = ?", arguments: [name, OneTimeSecret.hash(name)])
      guard database.changesCount > 0 else { throw AuthError.notFound("no such token; see 'tctl tokens ls'") }
    }
    emit("join_token.delete", "TJT01I", name: String(name.prefix(12)), by: actor)
  }

  /// Lets a service of the same process join: the token must be known, unexpired and for that service.
  ///
  /// A host that has joined once needs no token again, as it would not with an identity of its own.
  public func join(service: String, token: String?) throws {
    // A refusal names the token by the beginning of its hash only.
    let name = token.map { String(OneTimeSecret.hash($0).prefix(12)) }
    do {
      if try admit(service: service, token: token) { emitJoin(service, token: name, failure: nil) }
    } catch {
      emitJoin(service, token: name, failure: "\(error)")
      throw error
    }
  }

  /// - Returns: `false` if the service had joined before.
  private func admit(service: String, token: String?) throws -> Bool {
    let marker = "joined:\(service)"
    return try state.database.write { database in
      let known = try String.fetchOne(database, sql: "SELECT value FROM setting WHERE name = ?", arguments: [marker])
      guard known == nil else { return false }
      guard try tokenAllows(token ?? "", [service], in: database) else {
        throw AuthError.unauthenticated(
          "the join token is not valid for the \(service) service; make one with 'tctl tokens add --type=\(service)'")
      }
      try database.execute(
        sql: "INSERT INTO setting VALUES (?, ?)", arguments: [marker, "\(Date().timeIntervalSince1970)"])
      return true
    }
  }

  private func emitJoin(_ service: String, token: String?, failure: String?) {
    var event = AuditEvent("instance.join", code: failure == nil ? "TJ001I" : "TJ001W")
    event.clusterName = clusterName
    event.success = failure == nil
    event.message = failure
    event.extra = [("role", .text(service)), ("method", .text("token"))]
    if let token { event.extra.append(("token_name", .text(token))) }
    audit.emit(event)
  }
}
