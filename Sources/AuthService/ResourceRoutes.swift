import AccessControl
import ControlAPI
import Hummingbird

/// What `tctl get`, `create`, `edit` and `rm` call, alike for every kind of resource.
struct ResourceRoutes {
  let auth: AuthServer
  let knowledge: DatabaseKnowledge

  func add(to router: Router<CallContext>) {
    serve(Role.self, to: router)
    serve(UserResource.self, to: router)
    serve(TokenResource.self, to: router)
    serve(DatabaseResource.self, to: router) { try knowledge.check($0) }
    serve(AuthPreference.self, to: router)
    serve(Lock.self, to: router)
    router.post("/v1/explain") { request, context in
      let body = try await request.decode(as: ExplainRequest.self, context: context)
      for kind in [UserResource.kind, Role.kind, DatabaseResource.kind, Lock.kind] {
        _ = try context.authorized("list", on: kind, by: auth)
      }
      return try context.responseEncoder.encode(auth.explain(body, knowledge), from: request, context: context)
    }
  }

  /// - Parameter check: what the kind needs beyond `validate`.
  private func serve<Resource: ManagedResource>(
    _ type: Resource.Type, to router: Router<CallContext>,
    check: @escaping @Sendable (Resource) throws -> Void = { _ in }
  ) {
    let (auth, kind) = (auth, Resource.kind)
    router.get("/v1/resources/\(kind)") { request, context in
      let withSecrets = request.uri.queryParameters.get("with_secrets", as: Bool.self) ?? false
      _ = try context.authorized("list", on: kind, by: auth)
      if withSecrets { _ = try context.authorized("read", on: kind, by: auth) }
      return try context.responseEncoder.encode(
        Resource.list(of: auth, withSecrets: withSecrets), from: request, context: context)
    }
    router.post("/v1/resources/\(kind)") { request, context in
      let body = try await request.decode(as: ResourceRequest<Resource>.self, context: context)
      var caller = try context.authorized(body.condition == .absent ? "create" : "update", on: kind, by: auth)
      if body.condition == .any { caller = try context.authorized("create", on: kind, by: auth) }
      try check(body.resource)
      return try context.responseEncoder.encode(
        Resource.put(body, to: auth, by: caller.username), from: request, context: context)
    }
    router.delete("/v1/resources/\(kind)/:name") { _, context -> HTTPResponse.Status in
      let caller = try context.authorized("delete", on: kind, by: auth)
      try Resource.remove(try context.parameters.require("name"), from: auth, by: caller.username)
      return .noContent
    }
  }
}
