import PostgresWire
import TLS
import TextForms

/// What is at the other end, and so what to do where the way to it breaks.
public enum ProbedPeer: Sendable {
  /// A database, looked at from the Database Service's host.
  case database
  /// The cluster's proxy, looked at from a user's host.
  case proxy

  /// What ought to be there.
  var kind: String {
    switch self {
    case .database: "PostgreSQL or Redshift server"
    case .proxy: "proxy of a cluster"
    }
  }

  /// Where to read more.
  var log: String {
    switch self {
    case .database: "Look at the database's own log."
    case .proxy: "The log of the database's Database Service tells more."
    }
  }

  // MARK: Name and connection

  func unresolved(_ host: String) -> [String] {
    let look = ["", "  getent hosts \(ShellWord.quoted(host))"]
    switch self {
    case .database:
      return ["Check the uri of this database and the DNS of this host:"] + look + [
        "", "A private endpoint resolves inside its VPC only, or with DNS resolution enabled on the peering.",
      ]
    case .proxy: return ["Check the name of the proxy, the DNS of this host and its VPN:"] + look
    }
  }

  func unconnected(_ host: String, _ port: UInt16) -> [String] {
    let look = ["", "  nc -zv \(ShellWord.quoted(host)) \(port)"]
    switch self {
    case .database:
      return [
        "This host needs a way to the database's endpoint. Check, in this order:",
        "- the security group of the workgroup: inbound TCP \(port) from this host's group or address;",
        "- routes, peering and network ACLs between this host's VPC and the database's;",
        "- whether the workgroup is publicly accessible, if this host is outside its VPC.",
      ] + look
    case .proxy:
      return ["Check that the proxy runs, and what is between it and this host (VPN, firewalls):"] + look
    }
  }

  // MARK: TLS

  var wrongServer: String {
    switch self {
    case .database: "Check that the uri leads to the database, and enable TLS there; Sallyport never goes without."
    case .proxy: "Check that the address is that of the cluster's proxy, and that nothing in between ends TLS."
    }
  }

  func untrusted(_ reason: TLSFailure.Reason, serverName: String) -> [String] {
    switch (reason, self) {
    case (.expired, .database), (.notYetValid, .database):
      [
        "Compare this host's clock ('date -u') with the certificate's dates; if the clock is right, renew the certificate."
      ]
    case (.expired, .proxy), (.notYetValid, .proxy):
      [
        "Compare this host's clock ('date -u') with the certificate's dates; if it is right, tell the cluster's administrator."
      ]
    case (.wrongPurpose, .database), (.badCertificate, .database): ["Have the certificate of the database reissued."]
    case (.noApplicationProtocol, _), (.alertFromPeer, _), (.truncated, _), (.protocolError, _):
      ["Check that nothing between this host and the \(self) ends TLS (a proxy, an inspecting firewall)."]
    case (.legacyCommonName, .database):
      [
        "The certificate is older than July 2020 or made in that way: rotate the database's SSL/TLS certificate",
        "(RDS and Redshift: modify the instance to use a current certificate authority).",
      ]
    case (.nameMismatch, .database):
      [
        "The name dialled is '\(serverName)'. Write the endpoint's own name in uri, or set tls.server_name to the name",
        "in the certificate (a custom domain or an address in uri needs that).",
      ]
    case (.untrustedIssuer, .database):
      [
        "Set tls.ca_cert_file of this database to the bundle of its CA; Amazon's roots are in Debian's ca-certificates,",
        "and Redshift's bundle is at https://s3.amazonaws.com/redshift-downloads/amazon-trust-ca-bundle.crt.",
      ]
    case (.nameMismatch, .proxy):
      ["The name dialled is '\(serverName)'. Log in with --proxy at a name that is in the proxy's certificate."]
    case (.untrustedIssuer, .proxy), (.legacyCommonName, .proxy), (.wrongPurpose, .proxy), (.badCertificate, .proxy):
      [
        "This is not the cluster that this login was made at, or its CAs were rotated since. If you expect that, log in",
        "again with 'tsh login'; else something stands between this host and the proxy.",
      ]
    }
  }

  // MARK: Login

  /// Links behind TLS, in their order.
  public var sessionLinks: [Finding.Link] {
    switch self {
    case .database: [.authentication, .firstQuery]
    case .proxy: [.databaseService, .authentication, .firstQuery]
    }
  }

  /// What a login that works shows of the links before it.
  var entered: [Finding] {
    switch self {
    case .database: []
    case .proxy: [.works(.databaseService, "the proxy reaches one that serves the database")]
    }
  }

  /// How a login failed, and what that shows of the links around it.
  func refusal(_ error: any Error, _ login: PostgresProbe.Login, _ limit: Double) -> [Finding] {
    let (refusal, after) = (refused(error, login, limit), Finding.skipped([.firstQuery], after: .authentication))
    guard case .proxy = self else { return [refusal] + after }
    guard case AuthenticationFailure.server(let response) = error else {
      return [.skipped(.databaseService, "not come to")] + [refusal] + after
    }
    if response.sqlState == SQLState.noDatabaseService.rawValue {
      let mend = ["", "Its own log says why it is not connected; on its host:", "", "  journalctl -u teleport"]
      return [.broken(.databaseService, refusal.detail, mend: refusal.mend + mend)]
        + Finding.skipped([.authentication, .firstQuery], after: .databaseService)
    }
    let service: Finding =
      response.namesBrokenLink
      ? .works(.databaseService, "the proxy reaches one; what is broken is behind it")
      : .skipped(.databaseService, "the refusal does not tell whether it was come to")
    return [service, refusal] + after
  }

  private func refused(_ error: any Error, _ login: PostgresProbe.Login, _ limit: Double) -> Finding {
    switch (error, self) {
    case (AuthenticationFailure.server(let response), .proxy):
      return .broken(
        .authentication, response.message ?? "no reason given",
        mend: [response.detail, response.hint].compactMap { $0 } + (response.hint == nil ? [log] : []))
    case (let failure as AuthenticationFailure, _): return refusal(failure, login)
    case (ProbeFailure.tls(let failure), .proxy):
      return .broken(
        .authentication, failure.message,
        mend: ["The proxy does not accept the certificate: the cluster's CAs may have been rotated; 'tsh login' again."]
      )
    case (let failure as ProbeFailure, _): return .broken(.authentication, failure.text(limit), mend: [log])
    default: return .broken(.authentication, (error as? WireError)?.message ?? "\(error)", mend: [log])
    }
  }

  private func refusal(_ failure: AuthenticationFailure, _ login: PostgresProbe.Login) -> Finding {
    let wire = failure.wireError(user: login.user)
    var mend = wire.hint.map { [$0] } ?? []
    if failure.isPasswordRejected, login.user.hasPrefix("IAMR:") {
      mend += [
        "What it may do there is granted as to any other:", "", "  GRANT SELECT ON TABLE users TO \"\(login.user)\";",
      ]
    }
    return .broken(.authentication, wire.message, mend: mend.isEmpty ? [log] : mend)
  }
}
