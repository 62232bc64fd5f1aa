import ControlAPI
import Hummingbird
import PKI

/// What `tctl auth` and `tctl inventory` call, and the Database Service for the certificates of database users.
struct AuthorityRoutes {
  let auth: AuthServer

  func add(to router: Router<CallContext>) {
    router.get("/v1/cas/:kind/export") { _, context in
      _ = try context.authorized("read", on: "cert_authority", by: auth)
      guard let kind = CertificateAuthority.Kind(rawValue: try context.parameters.require("kind")) else {
        throw AuthError.notFound("CA types are user, host, db and db_client")
      }
      return try auth.authorities.now[kind].pems.joined()
    }
    router.post("/v1/cas/rotate") { request, context in
      let body = try await request.decode(as: RotationRequest.self, context: context)
      let caller = try context.authorized("rotate", on: "cert_authority", by: auth)
      return try context.responseEncoder.encode(
        auth.rotate(body, by: caller.username), from: request, context: context)
    }
    router.post("/v1/certificates/database-server") { request, context in
      let body = try await request.decode(as: DatabaseServerCertificateRequest.self, context: context)
      let caller = try context.authorized("create", on: "database_certificate", by: auth)
      return try context.responseEncoder.encode(
        auth.signDatabaseServer(body, by: caller.username), from: request, context: context)
    }
    router.post("/v1/certificates/database-client") { request, context in
      let body = try await request.decode(as: DatabaseClientCertificateRequest.self, context: context)
      let host = try context.host(auth)
      return try context.responseEncoder.encode(
        auth.signDatabaseClient(body, for: host), from: request, context: context)
    }
    router.post("/v1/certificates/user") { request, context in
      let body = try await request.decode(as: UserCertificateRequest.self, context: context)
      // Whoever may do this can be anyone: it is a right over the CA, not over one user.
      let caller = try context.authorized("create", on: "cert_authority", by: auth)
      return try context.responseEncoder.encode(
        auth.signUser(body, by: caller.username), from: request, context: context)
    }
    router.get("/v1/inventory") { request, context in
      _ = try context.authorized("list", on: "instance", by: auth)
      return try context.responseEncoder.encode(auth.inventory(), from: request, context: context)
    }
  }
}
