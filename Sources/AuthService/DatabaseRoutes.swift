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
      // Roles look at labels alone, and many databases have the same.
      var known: [[String: String]: Visibility] = [:]
      let visible = try auth.databases().compactMap { database -> DatabaseListing? in
        let visibility = known[database.labels] ?? Visibility(database.labels, checker, seesAll: seesAll)
        known[database.labels] = visibility
        return visibility.isVisible ? listing(database, visibility) : nil
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

  /// What a caller's roles say of all databases with the same labels.
  private struct Visibility {
    let isVisible: Bool
    let users: [String]
    let names: [String]

    init(_ labels: [String: String], _ checker: AccessChecker, seesAll: Bool) {
      isVisible = seesAll || checker.canSee(labels: labels)
      users = isVisible ? checker.allowedUsers(labels: labels) : []
      names = isVisible ? checker.allowedNames(labels: labels) : []
    }
  }

  private func listing(_ database: DatabaseRecord, _ visibility: Visibility) -> DatabaseListing {
    DatabaseListing(
      name: database.name, description: database.description, protocol: database.protocol, uri: database.uri,
      labels: database.labels, allowedUsers: visibility.users, allowedNames: visibility.names, origin: database.origin)
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
