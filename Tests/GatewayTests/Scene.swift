import Foundation
import Glibc
import PKI
import PostgresWire
import Reactor
import Secrets
import Synchronization
import TLS
import Testing

@testable import Gateway

/// Lets everybody in and remembers what it is told.
final class OpenAuthorizer: SessionAuthorizer {
  private let grant: @Sendable (SessionRequest) -> SessionGrant
  let failures = Mutex<[WireError]>([])
  let ends = Mutex<[SessionSummary]>([])

  init(_ grant: @escaping @Sendable (SessionRequest) -> SessionGrant) { self.grant = grant }

  func authorize(_ request: SessionRequest) async -> Result<SessionRoute, WireError> {
    .success(.database(grant(request)))
  }
  func userName(certificate: [UInt8]) -> String? { "alice" }
  func cancelRefused(_ sessionID: String?, certificate: [UInt8], clientAddress: String) {}
  func sessionStarting(_ sessionID: String, _ answer: @escaping @Sendable (WireError?) -> Void) { answer(nil) }
  func sessionStarted(_ sessionID: String, failure: WireError?) {
    if let failure { failures.withLock { $0.append(failure) } }
  }
  func sessionEnded(_ summary: SessionSummary) { ends.withLock { $0.append(summary) } }

  func waitForEnd(seconds: Int = 10) -> SessionSummary? {
    for _ in 0..<seconds * 20 {
      if let end = ends.withLock({ $0.first }) { return end }
      usleep(50_000)
    }
    return nil
  }
}

/// A gateway with a database behind it that follows a script, and one client of it.
struct Scene {
  let authorizer: OpenAuthorizer
  let client: TLSPeer
  let running: RunningGateway
  private let databaseIsOver = DispatchSemaphore(value: 0)

  /// - Parameters:
  ///   - adjust: changes the gateway's settings.
  ///   - limit: of the session, idle and in all, in milliseconds.
  ///   - deriveKeys: in place of SCRAM's own derivation.
  ///   - database: plays the database on a thread of its own; the scene is over for it when it returns.
  init(
    adjust: (inout GatewaySettings) -> Void = { _ in }, limit: UInt64? = nil,
    deriveKeys: @escaping @Sendable (ScramDerivation) throws(AuthenticationFailure) -> ScramKeys = {
      (derivation) throws(AuthenticationFailure) in try derivation.run()
    },
    database: @escaping @Sendable (TLSPeer, ServerTLSContext) throws -> Void
  ) throws {
    let host = try CertificateAuthority.make(.host, clusterName: "test")
    let user = try CertificateAuthority.make(.user, clusterName: "test")
    let certificate = try host.issueHost(
      HostIdentity(hostID: "host-1", name: "one", services: [.proxy], clusterName: "test"), names: ["localhost"],
      notAfter: Date() + 3600)
    let server = try ServerTLSContext(
      certificateChainPEM: certificate.certificatePEM, privateKeyPEM: certificate.key.pem,
      clientCAPEMs: [try user.certificatePEM], applicationProtocols: ["postgresql"])
    let toDatabase = try ClientTLSContext(mode: .verifyFull, trustedCAPEM: try host.certificatePEM)

    let listener = try Sockets.listen(on: #require(SocketAddress(ip: "127.0.0.1", port: 0)))
    let databaseAddress = try #require(Sockets.localAddress(listener))
    Thread { [databaseIsOver] in
      defer { databaseIsOver.signal() }
      var entry = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
      poll(&entry, 1, 20_000)
      let descriptor = accept(listener, nil, nil)
      close(listener)
      guard descriptor >= 0 else { return }
      // A script that the gateway hangs up on may fail: what matters is what the client sees.
      try? database(TLSPeer(descriptor: descriptor), server)
    }.start()

    authorizer = OpenAuthorizer { request in
      SessionGrant(
        sessionID: "1",
        login: ServerLogin(
          addresses: [databaseAddress], tls: toDatabase, serverName: "localhost", user: request.user,
          password: Secret(utf8: "pencil"), isPasswordCached: false, deriveKeys: deriveKeys),
        database: request.database, idleTimeout: limit, lifetime: limit)
    }
    var settings = GatewaySettings(postgresTLS: server, directTLS: server, http: nil)
    adjust(&settings)
    let probe = try Sockets.listen(on: #require(SocketAddress(ip: "127.0.0.1", port: 0)))
    let address = try #require(Sockets.localAddress(probe))
    // Both share the port by SO_REUSEPORT until the probe is closed.
    running = try Gateway(settings: settings, authorizer: authorizer).start(on: [address], reactorCount: 1)
    close(probe)

    client = try .connect(to: address)
    client.send(Encode.sslRequest())
    try #require(client.receive() == Array("S".utf8))
    let key = KeyPair.generate()
    let identity = UserIdentity(username: "alice", roles: [], clusterName: "test")
    let clientCertificate = try user.issue(
      identity, signingRequestPEM: try key.signingRequestPEM(commonName: "alice"), notAfter: Date() + 3600)
    try client.secure(
      as: try ClientTLSContext(
        mode: .verifyFull, trustedCAPEM: try host.certificatePEM, clientCertificate: (clientCertificate, key.pem)),
      name: "localhost")
    let pairs = Array("user\0alice\0database\0dev\0\0".utf8)
    var startup: [UInt8] = [0, 0, 0, UInt8(8 + pairs.count), 0, 3, 0, 0]
    startup += pairs
    client.send(startup)
  }

  /// Stops the gateway and waits for the database's script, which the gateway's end ends.
  func end() {
    running.stop()
    databaseIsOver.wait()
  }
}

/// What a database says in a login; see PostgreSQL's "Message Formats".
enum Say {
  static let ready: [UInt8] = [0x52, 0, 0, 0, 8, 0, 0, 0, 0, 0x5a, 0, 0, 0, 5, 0x49]
  static let scram = Array("R\0\0\0\u{17}\0\0\0\u{0a}SCRAM-SHA-256\0\0".utf8)
}

extension TLSPeer {
  /// A database's part up to the startup message of its client.
  func acceptLogin(_ context: ServerTLSContext) throws {
    _ = receive()
    send(Array("S".utf8))
    try secure(as: context)
    _ = receive()
  }
}
