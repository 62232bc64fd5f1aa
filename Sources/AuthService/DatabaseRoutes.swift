import AccessControl
import ControlAPI
import Hummingbird

/// What a logged-in user may call: the databases, and certificates for them.
struct DatabaseRoutes {
  let auth: AuthServer
  let spellings: DatabaseSpellings

  func add(to router: Router<CallContext>) {
    router.get("/v1/databases") { request, context in
      let identity = try context.identity()
      let checker = try auth.checker(for: identity)
      let seesAll = checker.allows("list", on: "db")
      let visible = try auth.databases().filter { seesAll || checker.canSee(labels: $0.labels) }.map {
        listing($0, checker)
      }
      return try context.responseEncoder.encode(visible, from: request, context: context)
    }
    router.post("/v1/certificates/database") { request, context in
      let body = try await request.decode(as: DatabaseCertificateRequest.self, context: context)
      let identity = try context.identity()
      try check(body, auth.checker(for: identity))
      try auth.refuseLocked(user: identity.username, roles: identity.roles, database: body.service)
      let answer = try auth.issueDatabaseCertificate(body, identity: identity)
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
  }

  private func listing(_ database: DatabaseRecord, _ checker: AccessChecker) -> DatabaseListing {
    DatabaseListing(
      name: database.name, description: database.description, protocol: database.protocol, uri: database.uri,
      labels: database.labels, allowedUsers: checker.allowedUsers(labels: database.labels),
      allowedNames: checker.allowedNames(labels: database.labels), origin: database.origin)
  }

  /// Refuses early what the Database Service would refuse at the login; that one decides again.
  private func check(_ request: DatabaseCertificateRequest, _ checker: AccessChecker) throws {
    guard let database = try auth.databases().first(where: { $0.name == request.service }),
      checker.canSee(labels: database.labels)
    else { throw AuthError.notFound("database '\(request.service)' not found; see 'tsh db ls'") }
    guard let user = request.databaseUser, let name = request.databaseName else { return }
    let access = DatabaseAccess(
      labels: database.labels, databaseName: name, databaseUsers: spellings(user, database))
    switch checker.decide(access) {
    case .allowed: break
    case .denied(let reason, let mend), .replicationDenied(let reason, let mend):
      throw AuthError.forbidden("access to database '\(request.service)' denied: \(reason)", hint: mend)
    }
  }
}
