import AWS
import ControlAPI
import Hummingbird

/// Tokens of method `iam`, and the hosts that join with them.
struct IAMRoutes {
  let auth: AuthServer
  /// Where STS is asked whom a proof speaks for: this process's surroundings, nothing that a host says.
  private let environment = AWSEnvironment()

  init(auth: AuthServer) { self.auth = auth }

  func add(to router: Router<CallContext>) {
    router.post("/v1/join/iam/challenge") { request, context in
      let answer = try auth.challenge(for: context.peer.remoteAddress)
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
    router.post("/v1/join/iam") { request, context in
      let body = try await request.decode(as: IAMJoinRequest.self, context: context)
      let answer = try await auth.join(body, from: context.peer.remoteAddress, in: environment)
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
    router.post("/v1/tokens/iam") { request, context in
      let identity = try context.authorized("create", on: "token", by: auth)
      let body = try await request.decode(as: IAMTokenRequest.self, context: context)
      let answer = try auth.addIAMToken(body, by: identity.username)
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
    router.get("/v1/tokens/iam") { request, context in
      _ = try context.authorized("list", on: "token", by: auth)
      return try context.responseEncoder.encode(auth.iamTokens(), from: request, context: context)
    }
  }
}
