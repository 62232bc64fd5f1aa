/// The links of the way to a database, by the names that `teleport db doctor` has for them.
public enum LoginLink: String, Sendable {
  case credentials
  case assumeRole = "assume role"
  case databaseCredentials = "database credentials"
  case clientCertificate = "client certificate"
  case nameResolution = "name resolution"
  case connection
  case tls = "TLS"
  case authentication
}

extension WireError {
  fileprivate static let brokenLink = "Broken link: "

  /// The same error with the link that broke: a short diagnosis for the client, and the session's name, by which the service's
  /// log has the long one.
  ///
  /// - Parameter what: of several links of the kind the one that broke.
  public func at(_ link: LoginLink, _ what: String? = nil, session: String) -> WireError {
    let place = "\(Self.brokenLink)\(link.rawValue)\(what.map { ", \($0)" } ?? ""). Session \(session)."
    let doctor = "The Database Service's log tells more of this session, 'teleport db doctor' on its host what to mend."
    return WireError(
      state, message, detail: detail.map { "\($0) \(place)" } ?? place, hint: hint.map { "\($0) \(doctor)" } ?? doctor)
  }
}

extension ErrorResponse {
  /// Whether it comes from a Database Service that says which link behind it broke.
  public var namesBrokenLink: Bool { detail?.contains(WireError.brokenLink) ?? false }
}
