import ControlAPI
import Hummingbird
import PKI

/// What hosts of the cluster call, and those that want to become one.
struct HostRoutes {
  let auth: AuthServer

  /// Bytes of what a host tells of its databases: thousands of them, with the tags that they have in AWS.
  static let maximumReport = 32 << 20

  /// Seconds a host may ask to be kept waiting for news.
  private static let longestWait = 30.0

  func add(to router: Router<CallContext>) {
    router.post("/v1/join") { request, context in
      let body = try await request.decode(as: JoinRequest.self, context: context)
      let answer = try auth.join(body, from: context.peer.remoteAddress)
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
    router.post("/v1/hosts/renew") { request, context in
      let host = try context.host(auth)
      let body = try await request.decode(as: RenewalRequest.self, context: context)
      return try context.responseEncoder.encode(auth.renew(host, body), from: request, context: context)
    }
    router.get("/v1/snapshot") { request, context in
      let host = try context.host(auth)
      let after = request.uri.queryParameters.get("after", as: Int64.self) ?? 0
      let wait = request.uri.queryParameters.get("wait", as: Double.self) ?? 0
      let snapshot = try await auth.snapshot(after: after, waiting: max(0, min(wait, Self.longestWait)))
      // A lock that came while it waited: this is how the host hears of it.
      try auth.refuseLocked(host: host.hostID)
      return try context.responseEncoder.encode(snapshot, from: request, context: context)
    }
    router.post("/v1/hosts/heartbeat") { request, context -> HTTPResponse.Status in
      let host = try context.host(auth)
      let body = try await APICoder().decode(HostHeartbeat.self, from: request, upTo: Self.maximumReport)
      try auth.heartbeat(body, of: host)
      return .noContent
    }
    router.post("/v1/hosts/sessions") { request, context in
      let host = try context.host(auth)
      let body = try await request.decode(as: SessionLeaseRequest.self, context: context)
      let answer = try auth.lease(body, by: host.hostID)
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
    router.post("/v1/hosts/sessions/renew") { request, context -> HTTPResponse.Status in
      let host = try context.host(auth)
      let body = try await request.decode(as: SessionLeaseRenewal.self, context: context)
      try auth.renewLeases(body, by: host.hostID)
      return .noContent
    }
    router.delete("/v1/hosts/heartbeat") { _, context -> HTTPResponse.Status in
      try auth.farewell(of: try context.host(auth).hostID)
      return .noContent
    }
  }
}

extension CallContext {
  /// The host that calls; throws for callers that are none.
  func host(_ auth: AuthServer) throws -> HostIdentity {
    guard let certificate = peer.certificate else {
      throw AuthError.unauthenticated("a host certificate is required; join the cluster first")
    }
    do {
      let identity = try auth.trustedAuthorities.host(certificateDER: certificate)
      guard identity.clusterName == auth.clusterName else {
        throw AuthError.unauthenticated("the host certificate is of another cluster")
      }
      try auth.refuseLocked(host: identity.hostID)
      return identity
    } catch let error as PKIError {
      throw AuthError.unauthenticated(error.description)
    }
  }
}
