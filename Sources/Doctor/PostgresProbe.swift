import Foundation
import PostgresWire
import Reactor
import Secrets
import TLS

/// Looks at the network's half of a login at what speaks PostgreSQL's protocol: name, connection, TLS, authentication, first
/// query.
///
/// Blocks, each link for its own limit at most; for a thread that may wait.
public struct PostgresProbe: Sendable {
  let peer: ProbedPeer
  let host: String
  let port: UInt16
  let serverName: String
  let tls: ClientTLSContext
  /// The name's addresses; throws `WireError`.
  let resolve: @Sendable () throws -> [SocketAddress]
  /// Seconds that one link may take.
  let limit: Double

  public init(
    _ peer: ProbedPeer, host: String, port: UInt16, serverName: String, tls: ClientTLSContext, limit: Double = 10,
    resolve: @escaping @Sendable () throws -> [SocketAddress]
  ) {
    self.peer = peer
    self.host = host
    self.port = port
    self.serverName = serverName
    self.tls = tls
    self.limit = limit
    self.resolve = resolve
  }

  /// How to log in, once the links before that have worked.
  public struct Login: Sendable {
    public let user: String
    public let database: String
    /// `nil`: the other end is expected to ask for none.
    public let password: Secret?

    public init(user: String, database: String, password: Secret?) {
      self.user = user
      self.database = database
      self.password = password
    }
  }

  /// - Parameters:
  ///   - login: `nil` if there are no credentials to log in with.
  ///   - missing: the link that ought to have given them.
  public func examine(login: Login?, missing: Finding.Link = .databaseCredentials) -> [Finding] {
    var findings: [Finding] = []
    let addresses: [SocketAddress]
    do {
      addresses = try resolve()
      let shown = addresses.map(\.host).joined(separator: ", ")
      findings.append(.works(.nameResolution, "\(host) is \(shown)"))
    } catch {
      let reason = (error as? WireError)?.message ?? "\(error)"
      findings.append(.broken(.nameResolution, "\(host): \(reason)", mend: peer.unresolved(host)))
      return findings + Finding.skipped([.connection, .tls] + peer.sessionLinks, after: .nameResolution)
    }
    guard let connection = connect(addresses, &findings) else {
      return findings + Finding.skipped([.tls] + peer.sessionLinks, after: .connection)
    }
    guard secure(connection, &findings) else {
      return findings + Finding.skipped(peer.sessionLinks, after: .tls)
    }
    guard let login else {
      return findings + Finding.skipped(peer.sessionLinks, after: missing)
    }
    do {
      try logIn(connection, login)
    } catch {
      return findings + peer.refusal(error, login, limit)
    }
    findings += peer.entered
    findings.append(.works(.authentication, "logged in as '\(login.user)' to '\(login.database)'"))
    findings.append(firstQuery(connection))
    return findings
  }

  private var deadline: ContinuousClock.Instant { .now + .seconds(limit) }

  // MARK: Connection

  private func connect(_ addresses: [SocketAddress], _ findings: inout [Finding]) -> ProbeConnection? {
    var failures: [String] = []
    for address in addresses {
      do throws(ProbeFailure) {
        let connection = try ProbeConnection(to: address, deadline: deadline)
        findings.append(.works(.connection, "\(address) accepts connections"))
        return connection
      } catch {
        failures.append("\(address): \(error.text(limit))")
      }
    }
    findings.append(.broken(.connection, failures.joined(separator: "; "), mend: peer.unconnected(host, port)))
    return nil
  }

  // MARK: TLS

  private func secure(_ connection: ProbeConnection, _ findings: inout [Finding]) -> Bool {
    connection.deadline = deadline
    do throws(ProbeFailure) {
      try connection.send(Encode.sslRequest())
      let answer = try connection.receive()
      guard answer == [UInt8(ascii: "S")] else {
        findings.append(
          .broken(.tls, "the server refuses TLS, or is no \(peer.kind)", mend: [peer.wrongServer]))
        return false
      }
      try connection.secure(tls, serverName: serverName)
    } catch {
      findings.append(tlsFinding(error, shown: shownCertificate()))
      return false
    }
    let facts = connection.session?.peerCertificateDER.flatMap(CertificateFacts.init)
    let version = connection.session?.protocolVersion ?? ""
    findings.append(.works(.tls, "\(version), certificate of \(facts?.summary ?? "unknown form")"))
    return true
  }

  /// The certificate that the server shows, whether or not it can be trusted: a second handshake that checks nothing and
  /// carries nothing.
  private func shownCertificate() -> CertificateFacts? {
    guard let context = try? ClientTLSContext(mode: .insecure), let addresses = try? resolve() else { return nil }
    for address in addresses {
      do throws(ProbeFailure) {
        let connection = try ProbeConnection(to: address, deadline: deadline)
        try connection.send(Encode.sslRequest())
        guard try connection.receive() == [UInt8(ascii: "S")] else { return nil }
        try connection.secure(context, serverName: serverName)
        return connection.session?.peerCertificateDER.flatMap(CertificateFacts.init)
      } catch {
        continue
      }
    }
    return nil
  }

  private func tlsFinding(_ failure: ProbeFailure, shown: CertificateFacts?) -> Finding {
    let shows = shown.map { ["The server shows \($0.summary)."] } ?? []
    guard case .tls(let tls) = failure else {
      return .broken(.tls, failure.text(limit), mend: [peer.wrongServer] + shows)
    }
    return .broken(.tls, tls.message, mend: peer.untrusted(tls.reason, serverName: serverName) + shows)
  }

  // MARK: Login

  private func logIn(_ connection: ProbeConnection, _ login: Login) throws {
    connection.deadline = deadline
    var authentication = ServerAuthentication(
      user: login.user, password: login.password, tlsServerEndPoint: connection.session?.serverEndPointHash,
      isTLSVerified: connection.session?.isPeerVerified ?? false)
    try connection.send(
      Encode.startup(user: login.user, database: login.database, parameters: [("application_name", "sallyport doctor")])
    )
    var (reader, collector) = (BackendMessageReader(), LoginCollector())
    var isAuthenticated = false
    while true {
      try reader.append(connection.receive())
      while let message = try reader.next() {
        if isAuthenticated {
          if try collector.handle(type: message.type, body: message.body) { return }
          continue
        }
        var step = try authentication.handle(type: message.type, body: message.body)
        if case .derive(let derivation) = step { step = try authentication.resume(with: derivation.run()) }
        if case .send(let bytes) = step { try connection.send(bytes) }
        if case .authenticated = step { isAuthenticated = true }
      }
    }
  }

  private func firstQuery(_ connection: ProbeConnection) -> Finding {
    connection.deadline = deadline
    do {
      try connection.send(Encode.query("SELECT current_user"))
      var reader = BackendMessageReader()
      while true {
        try reader.append(connection.receive())
        while let message = try reader.next() {
          if message.type == UInt8(ascii: "E") { throw AuthenticationFailure.server(ErrorResponse(body: message.body)) }
          guard message.type == UInt8(ascii: "Z") else { continue }
          try connection.send(Encode.terminate())
          return .works(.firstQuery, "SELECT current_user is answered")
        }
      }
    } catch {
      let reason =
        switch error {
        case AuthenticationFailure.server(let response): response.message ?? "no reason given"
        case let failure as ProbeFailure: failure.text(limit)
        default: "\(error)"
        }
      return .broken(.firstQuery, reason, mend: ["The login itself has worked. \(peer.log)"])
    }
  }
}

extension ProbeFailure {
  func text(_ limit: Double) -> String {
    switch self {
    case .timeout: "no answer within \(Int(limit)) s"
    case .closed: "the other end closed the connection"
    case .system(let reason): reason
    case .tls(let failure): failure.message
    }
  }
}
