/// Why the login at the database did not succeed.
public enum AuthenticationFailure: Error, Sendable {
  /// The database said so itself.
  case server(ErrorResponse)
  /// The database asked for something we refuse to do.
  case refused(String, hint: String?)
  /// The database broke the protocol or could not prove that it knows the password.
  case untrusted(String)

  /// Whether a fresh password could help: PostgreSQL and Redshift answer 28P01 or 28000.
  public var isPasswordRejected: Bool {
    guard case .server(let response) = self else { return false }
    return response.sqlState == "28P01" || response.sqlState == "28000"
  }

  /// The failure as the client is told it. Never contains the password: the database's text is shown for refusals only.
  ///
  /// - Parameter user: who was to be logged in.
  public func wireError(user: String) -> WireError {
    switch self {
    case .server(let response):
      let state: SQLState =
        switch response.sqlState {
        case "28P01", "28000": .invalidAuthorization
        case "3D000": .invalidCatalog
        case "53300": .tooManyConnections
        case "57P03": .cannotConnectNow
        default: .cannotConnect
        }
      let hint: String? =
        switch state {
        case .invalidAuthorization:
          "The database refused the credentials fetched for this user; check that the user exists there and may log in."
            + Self.creation(of: user)
        case .invalidCatalog: "Choose a database that exists there with --db-name."
        default: nil
        }
      return WireError(state, "the database refused the login: \(response.message ?? "no reason given")", hint: hint)
    case .refused(let reason, let hint): return WireError(.cannotConnect, reason, hint: hint)
    case .untrusted(let reason): return WireError(.cannotConnect, "the database's login is not trustworthy: \(reason)")
    }
  }

  /// Redshift makes the user of a role at its first login; it may be there before.
  private static func creation(of user: String) -> String {
    user.hasPrefix("IAMR:") ? " As its administrator: CREATE USER \"\(user)\" WITH PASSWORD DISABLE;" : ""
  }
}
