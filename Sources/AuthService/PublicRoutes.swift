import ControlAPI
import Hummingbird

/// What anyone may call: version, trust anchors, login, sign-up.
struct PublicRoutes {
  let auth: AuthServer

  func add(to router: Router<CallContext>) {
    router.get("/v1/webapi/ping") { request, context in
      try context.responseEncoder.encode(
        Ping(
          serverVersion: sallyportVersion, clusterName: auth.clusterName, secondFactor: auth.secondFactorMode),
        from: request, context: context)
    }
    router.get("/v1/webapi/automaticupgrades/channel/default/version") { _, _ in "v\(sallyportVersion)" }
    router.get("/v1/webapi/cas") { _, _ in try auth.hostCAPEM }
    router.post("/v1/webapi/login") { request, context in
      let body = try await request.decode(as: LoginRequest.self, context: context)
      let answer = try await auth.login(body, from: context.peer.remoteAddress)
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
    SignUpRoutes(auth: auth).add(to: router)
  }
}
