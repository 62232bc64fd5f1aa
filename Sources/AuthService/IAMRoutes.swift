import AWS
import ControlAPI
import Hummingbird

/// Hosts that join with a token of method `iam`.
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
  }
}
