import Foundation
import PostgresWire
import Reactor
import Secrets
import TLS

/// Looks at the network's half of a login: name, connection, TLS, authentication, first query.
///
/// Blocks, each link for its own limit at most; for a thread that may wait.
public struct DatabaseProbe: Sendable {
  let host: String
  let port: UInt16
  let serverName: String
  let tls: ClientTLSContext
  /// The name's addresses; throws `WireError`.
  let resolve: @Sendable () throws -> [SocketAddress]
  /// Seconds that one link may take.
  let limit: Double

  public init(
    host: String, port: UInt16, serverName: String, tls: ClientTLSContext, limit: Double = 10,
    resolve: @escaping @Sendable () throws -> [SocketAddress]
  ) {
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
    /// `nil`: the database is expected to ask for none.
    public let password: Secret?

    public init(user: String, database: String, password: Secret?) {
      self.user = user
      self.database = database
      self.password = password
    }
  }

  /// - Parameter login: `nil` if there are no credentials to log in with.
  public func examine(login: Login?) -> [Finding] {
    var findings: [Finding] = []
    let addresses: [SocketAddress]
    do {
      addresses = try resolve()
      let shown = addresses.map(\.host).joined(separator: ", ")
      findings.append(.works(.nameResolution, "\(host) is \(shown)"))
    } catch {
      findings.append(Self.unresolved(error, host: host))
      return findings + Finding.skipped([.connection, .tls, .authentication, .firstQuery], after: .nameResolution)
    }
    guard let connection = connect(addresses, &findings) else {
      return findings + Finding.skipped([.tls, .authentication, .firstQuery], after: .connection)
    }
    guard secure(connection, &findings) else {
      return findings + Finding.skipped([.authentication, .firstQuery], after: .tls)
    }
    guard let login else {
      return findings + Finding.skipped([.authentication, .firstQuery], after: .databaseCredentials)
    }
    guard authenticate(connection, login, &findings) else {
      return findings + Finding.skipped([.firstQuery], after: .authentication)
    }
    findings.append(firstQuery(connection))
    return findings
  }

  private var deadline: ContinuousClock.Instant { .now + .seconds(limit) }

  // MARK: Name and connection

  private static func unresolved(_ error: any Error, host: String) -> Finding {
    let reason = (error as? WireError)?.message ?? "\(error)"
    return .broken(
      .nameResolution, "\(host): \(reason)",
      mend: [
        "Check the uri of this database and the DNS of this host:", "", "  getent hosts \(host)", "",
        "A private endpoint resolves inside its VPC only, or with DNS resolution enabled on the peering.",
      ])
  }

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
    findings.append(
      .broken(
        .connection, failures.joined(separator: "; "),
        mend: [
          "This host needs a way to the database's endpoint. Check, in this order:",
          "- the security group of the workgroup: inbound TCP \(port) from this host's group or address;",
          "- routes, peering and network ACLs between this host's VPC and the database's;",
          "- whether the workgroup is publicly accessible, if this host is outside its VPC.", "",
          "  nc -zv \(host) \(port)",
        ]))
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
          .broken(
            .tls, "the server refuses TLS, or is no PostgreSQL or Redshift server",
            mend: ["Check that the uri leads to the database, and enable TLS there; Sallyport never goes without."]))
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
      return .broken(
        .tls, failure.text(limit), mend: ["Check that the uri leads to a PostgreSQL or Redshift endpoint."] + shows)
    }
    let mend: [String] =
      switch tls.reason {
      case .legacyCommonName:
        [
          "The certificate is older than July 2020 or made in that way: rotate the database's SSL/TLS certificate",
          "(RDS and Redshift: modify the instance to use a current certificate authority).",
        ]
      case .nameMismatch:
        [
          "The name dialled is '\(serverName)'. Write the endpoint's own name in uri, or set tls.server_name to the name",
          "in the certificate (a custom domain or an address in uri needs that).",
        ]
      case .untrustedIssuer:
        [
          "Set tls.ca_cert_file of this database to the bundle of its CA; Amazon's roots are in Debian's ca-certificates,",
          "and Redshift's bundle is at https://s3.amazonaws.com/redshift-downloads/amazon-trust-ca-bundle.crt.",
        ]
      case .expired, .notYetValid:
        [
          "Compare this host's clock ('date -u') with the certificate's dates; if the clock is right, renew the certificate."
        ]
      case .wrongPurpose, .badCertificate: ["Have the certificate of the database reissued."]
      case .noApplicationProtocol, .alertFromPeer, .truncated, .protocolError:
        ["Check that nothing between this host and the database ends TLS (a proxy, an inspecting firewall)."]
      }
    return .broken(.tls, tls.message, mend: mend + shows)
  }

  // MARK: Login

  private func authenticate(_ connection: ProbeConnection, _ login: Login, _ findings: inout [Finding]) -> Bool {
    do {
      try logIn(connection, login)
      findings.append(.works(.authentication, "logged in as '\(login.user)' to '\(login.database)'"))
      return true
    } catch {
      findings.append(authenticationFinding(error, login))
      return false
    }
  }

  private func logIn(_ connection: ProbeConnection, _ login: Login) throws {
    connection.deadline = deadline
    var authentication = ServerAuthentication(
      user: login.user, password: login.password, tlsServerEndPoint: connection.session?.serverEndPointHash(),
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

  private func authenticationFinding(_ error: any Error, _ login: Login) -> Finding {
    switch error {
    case let failure as AuthenticationFailure:
      let wire = failure.wireError(user: login.user)
      var mend = wire.hint.map { [$0] } ?? []
      if failure.isPasswordRejected, login.user.hasPrefix("IAMR:") {
        mend += [
          "What it may do there is granted as to any other:", "", "  GRANT SELECT ON TABLE users TO \"\(login.user)\";",
        ]
      }
      if mend.isEmpty { mend = ["Look at the database's own log."] }
      return .broken(.authentication, wire.message, mend: mend)
    case let failure as ProbeFailure:
      return .broken(.authentication, failure.text(limit), mend: ["Look at the database's own log."])
    default:
      return .broken(
        .authentication, (error as? WireError)?.message ?? "\(error)", mend: ["Look at the database's own log."])
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
      return .broken(.firstQuery, reason, mend: ["Look at the database's own log; the login itself has worked."])
    }
  }
}

extension ProbeFailure {
  fileprivate func text(_ limit: Double) -> String {
    switch self {
    case .timeout: "no answer within \(Int(limit)) s"
    case .closed: "the other end closed the connection"
    case .system(let reason): reason
    case .tls(let failure): failure.message
    }
  }
}
