import AccessControl
import ControlAPI
import Foundation
import Hummingbird
import Logging
import NIOCore
import PKI
import Secrets
import StateStore

/// The HTTPS API's server side, behind the gateway on a private Unix socket.
///
/// What goes wrong inside is logged; callers are told an id to look for in the log.
public struct APIServer: Sendable {
  private let auth: AuthServer
  private let peers: PeerRegistry
  private let knowledge: DatabaseKnowledge
  private let socketPath: String

  /// - Parameter socketPath: in a directory that only this user can enter.
  public init(auth: AuthServer, peers: PeerRegistry, knowledge: DatabaseKnowledge, socketPath: String) {
    self.auth = auth
    self.peers = peers
    self.knowledge = knowledge
    self.socketPath = socketPath
  }

  /// Serves until cancelled.
  public func run(onReady: @escaping @Sendable () async -> Void) async throws {
    unlink(socketPath)
    var logger = Logger(label: "api")
    // Failed requests are logged by `CallerMiddleware`; that the server was cancelled is no error.
    logger.logLevel = .critical
    let application = Application(
      router: router(),
      configuration: .init(address: .unixDomainSocket(path: socketPath), serverName: nil),
      onServerRunning: { _ in await onReady() }, logger: logger)
    try await application.run()
  }

  private func router() -> Router<CallContext> {
    let router = Router(context: CallContext.self)
    router.add(middleware: CallerMiddleware(peers: peers, auth: auth))
    PublicRoutes(auth: auth).add(to: router)
    HostRoutes(auth: auth).add(to: router)
    IAMRoutes(auth: auth).add(to: router)
    DatabaseRoutes(auth: auth, spellings: knowledge.spellings).add(to: router)
    AdministrationRoutes(auth: auth).add(to: router)
    DiscoveryRoutes(auth: auth, knowledge: knowledge).add(to: router)
    ResourceRoutes(auth: auth, knowledge: knowledge).add(to: router)
    AuthorityRoutes(auth: auth).add(to: router)
    AuditRoutes(auth: auth).add(to: router)
    ShippingRoutes(auth: auth).add(to: router)
    SessionRoutes(auth: auth).add(to: router)
    return router
  }
}

/// What each request carries along: who called.
struct CallContext: RequestContext {
  var coreContext: CoreRequestContextStorage
  let socketName: String?
  var peer = Peer(certificate: nil, remoteAddress: "")

  init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    socketName = source.channel.remoteAddress?.pathname
  }

  var maxUploadSize: Int { 1 << 20 }
  var requestDecoder: APICoder { APICoder() }
  var responseEncoder: APICoder { APICoder() }

  /// The caller's identity; throws for callers without a certificate, and for certificates of a database: those lie about
  /// in the configuration of programs that shall reach one database and nothing else.
  func identity() throws -> UserIdentity {
    guard let certificate = peer.certificate else {
      throw AuthError.unauthenticated("a client certificate is required; run 'tsh login'")
    }
    let identity: UserIdentity
    do {
      identity = try UserIdentity(certificateDER: certificate)
    } catch {
      throw AuthError.unauthenticated("the client certificate is not a user's; run 'tsh login'")
    }
    if let route = identity.route {
      throw AuthError.forbidden(
        "the client certificate is for database '\(route.service)' only", hint: "run 'tsh login' for one of your own")
    }
    return identity
  }

  /// The caller's identity, if its roles allow `verb` on `resource`.
  func authorized(_ verb: String, on resource: String, by auth: AuthServer) throws -> UserIdentity {
    let identity = try identity()
    guard try auth.checker(for: identity).allows(verb, on: resource) else {
      throw AuthError.forbidden(
        "user '\(identity.username)' may not \(verb) \(resource)",
        hint: "a role with a rule {resources: [\(resource)], verbs: [\(verb)]} is needed, for example 'editor'")
    }
    return identity
  }
}

/// JSON on both ways, with errors that say which field is wrong.
struct APICoder: RequestDecoder, ResponseEncoder {
  func decode<Value: Decodable>(_ type: Value.Type, from request: Request, context: some RequestContext) async throws
    -> Value
  {
    try await decode(type, from: request, upTo: context.maxUploadSize)
  }

  /// - Parameter limit: bytes that the body may have.
  func decode<Value: Decodable>(_ type: Value.Type, from request: Request, upTo limit: Int) async throws -> Value {
    let body = try await request.body.collect(upTo: limit)
    do {
      return try JSONDecoder.api.decode(type, from: Data(body.readableBytesView))
    } catch let error as RoleError {
      throw AuthError.invalid(error.description)
    } catch {
      throw AuthError.invalid("the request body is not the JSON that is expected here")
    }
  }

  func encode(_ value: some Encodable, from request: Request, context: some RequestContext) throws -> Response {
    let data = try JSONEncoder.api.encode(value)
    return Response(
      status: .ok, headers: [.contentType: "application/json"], body: .init(byteBuffer: ByteBuffer(bytes: data)))
  }
}

/// Looks up who calls and turns errors into the API's error body.
private struct CallerMiddleware: RouterMiddleware {
  let peers: PeerRegistry
  let auth: AuthServer
  private let logger = Logger(label: "api")

  init(peers: PeerRegistry, auth: AuthServer) {
    self.peers = peers
    self.auth = auth
  }

  func handle(
    _ request: Request, context: CallContext, next: (Request, CallContext) async throws -> Response
  ) async throws -> Response {
    do {
      guard let name = context.socketName, let peer = peers.peer(path: name) else {
        throw AuthError.forbidden("connections that do not come through the gateway are not served")
      }
      if let voucher = peer.voucher { try checkProxy(voucher) }
      var context = context
      context.peer = peer
      return try await next(request, context)
    } catch let error as StateError where error.reason == .unavailable {
      logger.error("the cluster's state is out of reach", metadata: ["id": "\(context.id)", "error": "\(error)"])
      let answered = AuthError.unavailable(
        "the Auth Service cannot reach the cluster's state; try again (its log has the reason under id \(context.id))")
      return try answer(answered.body, status: .serviceUnavailable, request, context)
    } catch let error as AuthError where error.isForCaller {
      return try answer(error.body, status: .init(code: error.status), request, context)
    } catch let error as NIOTooManyBytesError {
      let limit = error.maxBytes.map { " of at most \($0) bytes" } ?? ""
      return try answer(
        ErrorBody(message: "the request is too large", hint: "send a body\(limit)"), status: .contentTooLarge, request,
        context)
    } catch let error as HTTPError {
      return try answer(
        ErrorBody(message: error.body ?? error.status.reasonPhrase), status: error.status, request, context)
    } catch {
      // The pattern of the route, never the path: invites have their secret in it.
      logger.error(
        "request failed",
        metadata: ["id": "\(context.id)", "route": "\(context.endpointPath ?? "none")", "error": "\(error)"])
      return try answer(
        ErrorBody(message: "internal error; see the server's log for id \(context.id)"),
        status: .internalServerError, request, context)
    }
  }

  /// Only a proxy of this cluster may say whom it speaks for.
  private func checkProxy(_ certificate: [UInt8]) throws {
    let host = try? auth.trustedAuthorities.host(certificateDER: certificate)
    guard let host, host.services.contains(.proxy), host.clusterName == auth.clusterName else {
      throw AuthError.forbidden("only proxies of this cluster may forward connections")
    }
    try auth.refuseLocked(host: host.hostID)
  }

  private func answer(
    _ body: ErrorBody, status: HTTPResponse.Status, _ request: Request, _ context: CallContext
  ) throws -> Response {
    var response = try context.responseEncoder.encode(body, from: request, context: context)
    response.status = status
    return response
  }
}
