import AccessControl
import ControlAPI
import StateStore

/// Users as resources: who they are, without how they prove it.
extension UserResource: ManagedResource {
  init(_ listing: UserListing) {
    self.init(name: listing.name, spec: Spec(roles: listing.roles, traits: listing.traits))
  }

  static func list(of auth: AuthServer, withSecrets: Bool) throws -> [UserResource] {
    try auth.users().map { try UserResource($0).withRevision() }
  }

  static func put(
    _ request: ResourceRequest<UserResource>, to auth: AuthServer, by actor: String
  ) throws -> ResourceResponse { try auth.putUser(request, by: actor) }

  static func remove(_ name: String, from auth: AuthServer, by actor: String) throws {
    try auth.removeUser(name, by: actor)
  }
}

extension AuthServer {
  /// Makes a user, who has no password until an administrator asks for a link (`resetUser`), or changes one, whose
  /// password and second factor stay.
  func putUser(_ request: ResourceRequest<UserResource>, by actor: String) throws -> ResourceResponse {
    try request.validate()
    let user = request.stored
    try check(roles: user.spec.roles)
    let replaced = try state.database.write { database in
      let present = try Row.fetchOne(database, sql: "SELECT * FROM cluster_user WHERE name = ?", arguments: [user.name])
      let replaced = try request.check(exists: present != nil) {
        try present.map { UserResource(try StoredUser(row: $0).listing) }
      }
      try Self.store(
        UserListing(name: user.name, roles: user.spec.roles, traits: user.spec.traits), in: database)
      return replaced
    }
    emit(replaced ? "user.update" : "user.create", replaced ? "T1003I" : "T1002I", name: user.name, by: actor)
    return ResourceResponse(name: user.name, replaced: replaced)
  }
}
