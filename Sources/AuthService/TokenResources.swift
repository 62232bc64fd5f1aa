import AccessControl
import ControlAPI
import Foundation
import StateStore

/// Join tokens as resources. Only their hashes are stored: what is shown is the hash, or its beginning.
extension TokenResource: ManagedResource {
  fileprivate init(row: Row, withSecrets: Bool) throws {
    let (hash, roles, expires): (String, String, Double) = try (row["hash"], row["roles"], row["expires"])
    let spec = Spec(roles: roles.split(separator: ",").map(String.init))
    // Whole seconds are what the resource can say.
    let end = Date(timeIntervalSince1970: expires.rounded(.down))
    self.init(name: TokenName.hashPrefix + hash, expires: end, spec: spec)
    // Of the hash in both cases, so that what is shown either way can be changed.
    self = try withRevision()
    if !withSecrets { metadata.name = String(hash.prefix(TokenName.idLength)) }
  }

  static func list(of auth: AuthServer, withSecrets: Bool) throws -> [TokenResource] {
    try auth.state.database.read { database in
      try Row.fetchAll(
        database, sql: "SELECT * FROM token WHERE expires > ? ORDER BY expires",
        arguments: [Date().timeIntervalSince1970]
      ).map { try TokenResource(row: $0, withSecrets: withSecrets) }
    } + auth.iamTokens()
  }

  static func put(
    _ request: ResourceRequest<TokenResource>, to auth: AuthServer, by actor: String
  ) throws -> ResourceResponse {
    try request.validate()
    return try request.resource.spec.allow == nil
      ? auth.putToken(request, by: actor) : auth.putIAMToken(request, by: actor)
  }

  static func remove(_ name: String, from auth: AuthServer, by actor: String) throws {
    try auth.removeToken(name, by: actor)
  }
}

extension AuthServer {
  private static let maximumTokens = 10_000

  /// Makes a join token, or changes one; stores the hash of it.
  ///
  /// - Returns: the beginning of the hash as name: the token itself is nobody's to print.
  func putToken(_ request: ResourceRequest<TokenResource>, by actor: String) throws -> ResourceResponse {
    let token = request.resource
    guard let name = TokenName(token.name), let expires = token.expires else {
      throw AuthError.invalid("the token has no name or no end")
    }
    guard expires > Date() else {
      throw AuthError.invalid("the token would be over already", hint: "choose a later end")
    }
    guard Set(token.spec.roles).isSubset(of: Self.tokenRoles) else {
      throw AuthError.invalid("token type must be among \(Self.tokenRoles.sorted().joined(separator: ", "))")
    }
    let (hash, replaced) = try state.database.write { database in
      let hash = try Self.hash(of: name, in: database)
      let present = try Row.fetchOne(database, sql: "SELECT * FROM token WHERE hash = ?", arguments: [hash])
      // Compared under the name by which both were listed.
      let replaced = try request.named(String(hash.prefix(TokenName.idLength)))
        .check(exists: present != nil) { try present.map { try TokenResource(row: $0, withSecrets: true) } }
      let count = try Int.fetchOne(database, sql: "SELECT count(*) FROM token") ?? 0
      guard replaced || count < Self.maximumTokens else {
        throw AuthError.invalid("there are \(count) tokens already", hint: "remove some with 'tctl tokens rm'")
      }
      try database.execute(
        sql: """
          INSERT INTO token (hash, roles, expires) VALUES (?, ?, ?)
          ON CONFLICT (hash) DO UPDATE SET roles = excluded.roles, expires = excluded.expires
          """, arguments: [hash, token.spec.roles.joined(separator: ","), expires.timeIntervalSince1970])
      return (hash, replaced)
    }
    let id = String(hash.prefix(TokenName.idLength))
    emit("join_token.create", "TJT00I", name: id, by: actor)
    return ResourceResponse(name: id, replaced: replaced)
  }

  private static func hash(of name: TokenName, in database: Database) throws -> String {
    switch name {
    case .token(let secret): return OneTimeSecret.hash(secret)
    case .hash(let hash): return hash
    case .id(let id):
      // The beginning of a hash makes no token: it can only mean one that is there.
      guard
        let hash = try String.fetchOne(
          database, sql: "SELECT hash FROM token WHERE substr(hash, 1, 12) = ?", arguments: [id])
      else {
        throw AuthError.invalid(
          "token '\(id)' does not exist, and cannot be made from the beginning of its hash",
          hint: "write the token itself as name, or what 'tctl get tokens --with-secrets' shows")
      }
      return hash
    }
  }
}

extension ResourceRequest where Resource == TokenResource {
  fileprivate func named(_ name: String) -> Self {
    var request = self
    request.resource.metadata.name = name
    return request
  }
}
