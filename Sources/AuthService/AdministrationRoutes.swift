import ControlAPI
import Hummingbird

/// What `tctl` calls. Each route names the verb and resource that the caller's rules must allow.
struct AdministrationRoutes {
  let auth: AuthServer

  func add(to router: Router<CallContext>) {
    router.get("/v1/status") { request, context in
      _ = try context.identity()
      let status = ClusterStatus(
        clusterName: auth.clusterName, version: sallyportVersion, caPins: try auth.pins(),
        authorities: try auth.authorityStatus())
      return try context.responseEncoder.encode(status, from: request, context: context)
    }
    addUsers(to: router)
    addTokens(to: router)
  }

  private func addUsers(to router: Router<CallContext>) {
    router.post("/v1/users") { request, context in
      let body = try await request.decode(as: UserListing.self, context: context)
      let caller = try context.authorized("create", on: "user", by: auth)
      return try context.responseEncoder.encode(
        auth.addUser(body, lifetime: Self.lifetime(request), by: caller.username), from: request, context: context)
    }
    router.put("/v1/users/:name") { request, context in
      let body = try await request.decode(as: UserUpdate.self, context: context)
      let caller = try context.authorized("update", on: "user", by: auth)
      let user = try auth.updateUser(try context.parameters.require("name"), body, by: caller.username)
      return try context.responseEncoder.encode(user, from: request, context: context)
    }
    router.post("/v1/users/:name/reset") { request, context in
      let caller = try context.authorized("update", on: "user", by: auth)
      let invite = try auth.resetUser(
        try context.parameters.require("name"), lifetime: Self.lifetime(request), by: caller.username)
      return try context.responseEncoder.encode(invite, from: request, context: context)
    }
  }

  private func addTokens(to router: Router<CallContext>) {
    router.post("/v1/tokens") { request, context in
      let body = try await request.decode(as: TokenRequest.self, context: context)
      let caller = try context.authorized("create", on: "token", by: auth)
      return try context.responseEncoder.encode(
        auth.addToken(body, by: caller.username), from: request, context: context)
    }
  }

  /// Seconds that the link to be made is good for.
  private static func lifetime(_ request: Request) throws -> Int {
    guard let text = request.uri.queryParameters["ttl"] else { return AuthServer.inviteLifetime }
    guard let seconds = Int(text) else { throw AuthError.invalid("ttl is not a number of seconds") }
    return seconds
  }
}
