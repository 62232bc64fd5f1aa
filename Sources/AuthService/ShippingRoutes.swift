import AccessControl
import Audit
import ControlAPI
import Hummingbird
import PKI

/// Where hosts bring their audit logs.
struct ShippingRoutes {
  let auth: AuthServer

  func add(to router: Router<CallContext>) {
    router.get("/v1/hosts/audit") { request, context in
      let head = try await auth.hostLogs.head(of: try context.host(auth))
      return try context.responseEncoder.encode(Self.place(head), from: request, context: context)
    }
    router.post("/v1/hosts/audit") { request, context in
      let host = try context.host(auth)
      let body = try await request.body.collect(upTo: AuditPlace.maximumBody)
      let hasGap = request.uri.queryParameters["gap"] == "1"
      let others = try auth.liveHosts().subtracting([host.hostID])
      let head = try await auth.hostLogs.take(Array(body.readableBytesView), from: host, followsGap: hasGap) {
        others.contains($0)
      }
      return try context.responseEncoder.encode(Self.place(head), from: request, context: context)
    }
  }

  private static func place(_ head: AuditHead) -> AuditPlace { AuditPlace(last: head.sequence, digest: head.digestHex) }
}

/// The database sessions that run now.
struct SessionRoutes {
  let auth: AuthServer

  func add(to router: Router<CallContext>) {
    router.get("/v1/sessions") { request, context in
      let identity = try context.identity()
      // Who may read the records of their starts may see all; everybody sees the own ones.
      let seesAll = try auth.checker(for: identity).allows("list", on: "event")
      let answer = try await auth.openSessions { seesAll || $0.user == identity.username }
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
  }
}

extension AuthServer {
  /// The database sessions that run now: those whose start is on record and whose end is not, on hosts that report to
  /// the cluster.
  func openSessions(_ isWanted: (OpenSession) -> Bool) async throws -> SessionListings {
    let shipped = try await hostLogs.openSessions(on: try liveHosts().sorted())
    let sessions = (await audit.openSessions() + shipped).filter(isWanted)
      .sorted { ($0.started, $0.id) < ($1.started, $1.id) }
    return SessionListings(
      sessions: sessions.prefix(SessionListings.maximum).map { session in
        SessionListing(
          id: session.id, user: session.user, database: session.database, databaseUser: session.databaseUser,
          databaseName: session.databaseName, host: session.host, started: session.started,
          clientAddress: session.clientAddress)
      }, total: sessions.count)
  }
}
