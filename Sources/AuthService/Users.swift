import AccessControl
import Audit
import ControlAPI
import Foundation
import Secrets
import StateStore

/// A user as stored.
struct StoredUser {
  var name: String
  var roles: [String]
  var traits: [String: [String]]
  var password: PasswordHash?

  init(name: String, roles: [String], traits: [String: [String]]) {
    self.name = name
    self.roles = roles
    self.traits = traits
  }

  init(row: Row) throws {
    func decode<Value: Decodable>(_ type: Value.Type, _ text: String) throws -> Value {
      try JSONDecoder().decode(type, from: Data(text.utf8))
    }
    name = try row["name"]
    roles = try decode([String].self, try row["roles"])
    traits = try decode([String: [String]].self, try row["traits"])
    let hash: String? = try row["password"]
    password = try hash.map { try decode(PasswordHash.self, $0) }
  }

  var listing: UserListing { UserListing(name: name, roles: roles, traits: traits) }
}

extension AuthServer {
  func user(_ name: String) throws -> StoredUser? {
    try state.database.read { database in
      try Row.fetchOne(database, sql: "SELECT * FROM cluster_user WHERE name = ?", arguments: [name]).map(
        StoredUser.init)
    }
  }

  func users() throws -> [UserListing] {
    try state.database.read { database in
      try Row.fetchAll(database, sql: "SELECT * FROM cluster_user ORDER BY name").map {
        try StoredUser(row: $0).listing
      }
    }
  }

  /// Makes a user who sets the password through the invite.
  ///
  /// - Parameter lifetime: of the invite, in seconds.
  func addUser(
    _ listing: UserListing, lifetime: Int = AuthServer.inviteLifetime, by actor: String
  ) throws -> Invite {
    try Self.check(lifetime: lifetime)
    guard Role.isValidName(listing.name) else {
      throw AuthError.invalid("user name '\(listing.name)' is not valid; use letters, digits and . _ @ + -")
    }
    try check(roles: listing.roles)
    let invite = try state.database.write { database in
      guard
        try Row.fetchOne(database, sql: "SELECT name FROM cluster_user WHERE name = ?", arguments: [listing.name])
          == nil
      else {
        throw AuthError.exists("user '\(listing.name)' already exists", hint: "change it with 'tctl users update'")
      }
      try Self.store(listing, in: database)
      return try makeInvite(for: listing.name, lifetime: lifetime, in: database)
    }
    emit("user.create", "T1002I", name: listing.name, by: actor)
    return invite
  }

  func updateUser(_ name: String, _ update: UserUpdate, by actor: String) throws -> UserListing {
    if let roles = update.roles { try check(roles: roles) }
    let listing = try state.database.write { database in
      guard let row = try Row.fetchOne(database, sql: "SELECT * FROM cluster_user WHERE name = ?", arguments: [name])
      else {
        throw AuthError.notFound("user '\(name)' does not exist; see 'tctl users ls'")
      }
      var listing = try StoredUser(row: row).listing
      if let roles = update.roles { listing.roles = roles }
      if let traits = update.traits { listing.traits.merge(traits) { _, new in new } }
      try Self.store(listing, in: database)
      return listing
    }
    emit("user.update", "T1003I", name: name, by: actor)
    return listing
  }

  func removeUser(_ name: String, by actor: String) throws {
    try state.database.write { database in
      try database.execute(sql: "DELETE FROM cluster_user WHERE name = ?", arguments: [name])
      guard database.changesCount > 0 else {
        throw AuthError.notFound("user '\(name)' does not exist; see 'tctl users ls'")
      }
      try database.execute(sql: "DELETE FROM invite WHERE username = ?", arguments: [name])
      try database.execute(sql: "DELETE FROM second_factor WHERE username = ?", arguments: [name])
    }
    emit("user.delete", "T1004I", name: name, by: actor)
  }

  /// Takes password and second factor away and invites the user to set new ones.
  func resetUser(
    _ name: String, lifetime: Int = AuthServer.inviteLifetime, by actor: String
  ) throws -> Invite {
    try Self.check(lifetime: lifetime)
    let invite = try state.database.write { database in
      try database.execute(sql: "UPDATE cluster_user SET password = NULL WHERE name = ?", arguments: [name])
      guard database.changesCount > 0 else {
        throw AuthError.notFound("user '\(name)' does not exist; see 'tctl users ls'")
      }
      try database.execute(sql: "DELETE FROM second_factor WHERE username = ?", arguments: [name])
      return try makeInvite(for: name, lifetime: lifetime, in: database)
    }
    emit("reset_password_token.create", "T6000I", name: name, by: actor)
    return invite
  }

  /// Whom an invite is for, as long as it is good.
  func invitedUser(_ secret: String) throws -> String {
    let user = try state.database.read { database in
      try String.fetchOne(
        database, sql: "SELECT username FROM invite WHERE hash = ? AND expires > ?",
        arguments: [OneTimeSecret.hash(secret), Date().timeIntervalSince1970])
    }
    guard let user else {
      throw AuthError.unauthenticated("this link is not valid (any more); ask for a new one: 'tctl users reset NAME'")
    }
    return user
  }

  /// Sets the password and, with `otp`, the second factor that the link offers; the invite is spent by that.
  func acceptInvite(_ secret: String, password: Secret, otp: Secret? = nil) throws -> InviteAccepted {
    guard PasswordHash.lengths.contains(password.count) else {
      throw AuthError.invalid(
        "the password must have \(PasswordHash.lengths.lowerBound) to \(PasswordHash.lengths.upperBound) bytes")
    }
    let user = try invitedUser(secret)
    let hash = String(decoding: try JSONEncoder().encode(try PasswordHash(password)), as: UTF8.self)
    let hasSecondFactor = try state.database.write { database in
      let hasSecondFactor = try enrol(user, link: secret, otp: otp, in: database)
      // Of two who use the link at once, one deletes the row and the other finds none.
      try database.execute(
        sql: "DELETE FROM invite WHERE hash = ? AND expires > ?",
        arguments: [OneTimeSecret.hash(secret), Date().timeIntervalSince1970])
      guard database.changesCount == 1 else { throw AuthError.unauthenticated("this link has been used already") }
      try database.execute(sql: "UPDATE cluster_user SET password = ? WHERE name = ?", arguments: [hash, user])
      return hasSecondFactor
    }
    emit("user.password_change", "T1005I", name: user, by: user)
    if hasSecondFactor { emit("mfa.add", "T1006I", name: user, by: user) }
    return InviteAccepted(user: user, hasSecondFactor: hasSecondFactor)
  }

  private static func check(lifetime: Int) throws {
    guard Invite.lifetimes.contains(lifetime) else {
      throw AuthError.invalid("a link is good for 1 minute to 48 hours")
    }
  }

  private func makeInvite(for user: String, lifetime: Int, in database: Database) throws -> Invite {
    let secret = OneTimeSecret.make()
    let expires = Date() + Double(lifetime)
    try database.execute(sql: "DELETE FROM invite WHERE username = ?", arguments: [user])
    try database.execute(
      sql: "INSERT INTO invite (hash, username, expires) VALUES (?, ?, ?)",
      arguments: [OneTimeSecret.hash(secret), user, expires.timeIntervalSince1970])
    return Invite(user: user, url: link("/web/invite/\(secret)"), expires: expires)
  }

  static func store(_ user: UserListing, in database: Database) throws {
    func json(_ value: some Encodable) throws -> String {
      String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }
    try database.execute(
      sql: """
        INSERT INTO cluster_user (name, roles, traits) VALUES (?, ?, ?)
        ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, traits = excluded.traits
        """, arguments: [user.name, try json(user.roles), try json(user.traits)])
  }

  func check(roles: [String]) throws {
    let known = Set(try self.roles().map(\.metadata.name))
    if let unknown = roles.first(where: { !known.contains($0) }) {
      throw AuthError.invalid("role '\(unknown)' does not exist", hint: "see 'tctl get roles'")
    }
  }

  func emit(_ name: String, _ code: String, name subject: String, by actor: String) {
    var event = AuditEvent(name, code: code)
    event.clusterName = clusterName
    event.user = actor
    event.name = subject
    audit.emit(event)
  }
}
