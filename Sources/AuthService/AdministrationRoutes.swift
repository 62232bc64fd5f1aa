import AccessControl
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
    router.get("/v1/cluster_auth_preference") { request, context in
      _ = try context.authorized("read", on: "cluster_auth_preference", by: auth)
      return try context.responseEncoder.encode(auth.authPreference(), from: request, context: context)
    }
    router.put("/v1/cluster_auth_preference") { request, context in
      let body = try await request.decode(as: AuthPreferenceRequest.self, context: context)
      let caller = try context.authorized("update", on: "cluster_auth_preference", by: auth)
      try auth.putAuthPreference(body, by: caller.username)
      return try context.responseEncoder.encode(auth.authPreference(), from: request, context: context)
    }
    addRoles(to: router)
    addUsers(to: router)
    addTokens(to: router)
  }

  private func addRoles(to router: Router<CallContext>) {
    router.get("/v1/roles") { request, context in
      _ = try context.authorized("list", on: "role", by: auth)
      return try context.responseEncoder.encode(auth.roles(), from: request, context: context)
    }
    router.post("/v1/roles") { request, context in
      let body = try await request.decode(as: RoleRequest.self, context: context)
      let caller = try context.authorized(body.force ? "update" : "create", on: "role", by: auth)
      return try context.responseEncoder.encode(
        auth.putRole(body, by: caller.username), from: request, context: context)
    }
    router.delete("/v1/roles/:name") { _, context -> HTTPResponse.Status in
      let caller = try context.authorized("delete", on: "role", by: auth)
      try auth.removeRole(try context.parameters.require("name"), by: caller.username)
      return .noContent
    }
  }

  private func addUsers(to router: Router<CallContext>) {
    router.get("/v1/users") { request, context in
      _ = try context.authorized("list", on: "user", by: auth)
      return try context.responseEncoder.encode(auth.users(), from: request, context: context)
    }
    router.post("/v1/users") { request, context in
      let body = try await request.decode(as: UserListing.self, context: context)
      let caller = try context.authorized("create", on: "user", by: auth)
      return try context.responseEncoder.encode(
        auth.addUser(body, by: caller.username), from: request, context: context)
    }
    router.put("/v1/users/:name") { request, context in
      let body = try await request.decode(as: UserUpdate.self, context: context)
      let caller = try context.authorized("update", on: "user", by: auth)
      let user = try auth.updateUser(try context.parameters.require("name"), body, by: caller.username)
      return try context.responseEncoder.encode(user, from: request, context: context)
    }
    router.post("/v1/users/:name/reset") { request, context in
      let caller = try context.authorized("update", on: "user", by: auth)
      let invite = try auth.resetUser(try context.parameters.require("name"), by: caller.username)
      return try context.responseEncoder.encode(invite, from: request, context: context)
    }
    router.delete("/v1/users/:name") { _, context -> HTTPResponse.Status in
      let caller = try context.authorized("delete", on: "user", by: auth)
      try auth.removeUser(try context.parameters.require("name"), by: caller.username)
      return .noContent
    }
  }

  private func addTokens(to router: Router<CallContext>) {
    router.get("/v1/tokens") { request, context in
      _ = try context.authorized("list", on: "token", by: auth)
      return try context.responseEncoder.encode(auth.tokens(), from: request, context: context)
    }
    router.post("/v1/tokens") { request, context in
      let body = try await request.decode(as: TokenRequest.self, context: context)
      let caller = try context.authorized("create", on: "token", by: auth)
      return try context.responseEncoder.encode(
        auth.addToken(body, by: caller.username), from: request, context: context)
    }
    router.delete("/v1/tokens/:name") { _, context -> HTTPResponse.Status in
      let caller = try context.authorized("delete", on: "token", by: auth)
      try auth.removeToken(try context.parameters.require("name"), by: caller.username)
      return .noContent
    }
  }
}
