import ControlAPI
import Hummingbird

/// What `tctl lock`, `tctl get locks` and `tctl rm lock/NAME` call.
struct LockRoutes {
  let auth: AuthServer

  func add(to router: Router<CallContext>) {
    router.get("/v1/locks") { request, context in
      _ = try context.authorized("list", on: "lock", by: auth)
      return try context.responseEncoder.encode(auth.locks(), from: request, context: context)
    }
    router.post("/v1/locks") { request, context in
      let body = try await request.decode(as: LockRequest.self, context: context)
      let caller = try context.authorized(body.force ? "update" : "create", on: "lock", by: auth)
      return try context.responseEncoder.encode(
        auth.putLock(body, by: caller.username), from: request, context: context)
    }
    router.delete("/v1/locks/:name") { _, context -> HTTPResponse.Status in
      let caller = try context.authorized("delete", on: "lock", by: auth)
      try auth.removeLock(try context.parameters.require("name"), by: caller.username)
      return .noContent
    }
  }
}
