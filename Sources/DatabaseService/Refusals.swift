import AWS
import AccessControl
import Audit
import Foundation
import Gateway
import Logging
import PostgresWire

/// What the client and the log are told of logins that fail.
///
/// A client that the roles let in hears which link broke and how AWS or the database put it; the log has the whole, under the
/// session's name, which the client hears too. Whom the roles do not let in hears nothing of what stands behind them.
struct Refusals {
  let logger: Logger

  /// What the client is told. Errors that were not written for clients are logged under an id that it is told instead.
  ///
  /// - Parameter login: the record of what was asked for.
  func wireError(_ error: any Error, _ login: AuditEvent) -> WireError {
    let id = login.sessionID ?? ""
    switch error {
    case let error as WireError: return error
    case let error as LoginFailure:
      let (link, what) = error.place
      logger.warning(
        "AWS gives no login",
        metadata: Self.metadata(login, [("link", link.rawValue), ("error", error.details), ("mend", error.mend)]))
      return WireError(
        .invalidAuthorization, "cannot get database credentials from AWS: \(error)", hint: error.mend
      ).at(link, what, session: id)
    case let error as AWSError:
      logger.warning("AWS cannot be asked", metadata: Self.metadata(login, [("error", error.details)]))
      return WireError(
        .invalidAuthorization, "cannot get database credentials from AWS: \(error)", hint: error.mend)
    case let error as ClientCertificateError:
      let refusal = WireError(
        .cannotConnect, "no client certificate for the database could be got: \(error)",
        hint: "Check that the Database Service reaches the Auth Service."
      ).at(.clientCertificate, session: id)
      note(refusal, login)
      return refusal
    case let error as IdentityRefusal:
      return WireError(.invalidAuthorization, error.message, hint: "Run 'tsh login' and try again.")
    default:
      logger.error("a login could not be decided", metadata: Self.metadata(login, [("error", "\(error)")]))
      return WireError(
        .internalError, "the login could not be decided", hint: "See the Database Service's log for session \(id).")
    }
  }

  /// Logs what the client of a granted session is told.
  func note(_ failure: WireError, _ login: AuditEvent) {
    logger.warning(
      "session failed",
      metadata: Self.metadata(
        login, [("error", failure.message), ("detail", failure.detail), ("hint", failure.hint)]))
  }

  private static func metadata(_ login: AuditEvent, _ more: [(key: String, value: String?)]) -> Logger.Metadata {
    let fields =
      [
        ("sid", login.sessionID), ("user", login.user), ("db", login.databaseService), ("db_user", login.databaseUser),
        ("db_name", login.databaseName),
      ] + more
    return Dictionary(fields.compactMap { key, value in value.map { (key, .string($0)) } }) { first, _ in first }
  }
}

extension LoginFailure {
  /// The link, and which of its kind with AWS's code.
  fileprivate var place: (link: LoginLink, what: String?) {
    switch self {
    case .credentials(let error): (.credentials, error.failure?.code)
    case .assumeRole(let role, let error): (.assumeRole, "\(role): \(error.code)")
    case .password(let error):
      (
        .databaseCredentials,
        [error.call.map { "\($0.operation)" }, error.code].compactMap { $0 }.joined(separator: ": ")
      )
    }
  }
}

extension WireError {
  /// What is wrong, with the detail that the client sees too, for records.
  var auditText: String { detail.map { "\(message): \($0)" } ?? message }
}
