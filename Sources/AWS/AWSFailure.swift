/// What work with AWS fails with: a call, or a link of a login. Never holds a secret.
public protocol AWSFailure: Error, Sendable {
  /// Everything that is known, for the log.
  var details: String { get }
  /// For whoever administers the service, if a mend is known.
  var mend: String? { get }
  /// Credentials that were kept were refused: looking for new ones may help.
  var meansStaleCredentials: Bool { get }
}

extension AWSFailure {
  /// All of it in one line of a log.
  public var line: String { details + (mend.map { " (\($0))" } ?? "") }
}
