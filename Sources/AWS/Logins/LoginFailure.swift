/// Which link of a login at AWS broke, and how. Never holds a secret.
public enum LoginFailure: AWSFailure, CustomStringConvertible {
  /// This host's own credentials.
  case credentials(CredentialsError)
  /// A role of the chain was not assumed.
  case assumeRole(RoleARN, AWSError)
  /// The user's temporary password was not given.
  case password(AWSError)

  /// For those who may log in: AWS's own words, but of this host's credentials only which source failed with which code.
  public var description: String {
    switch self {
    case .credentials(let error): error.summary
    case .assumeRole(_, let error), .password(let error): error.description
    }
  }

  /// Everything that is known, for the log: the call, its number at AWS, each source of credentials that was asked.
  public var details: String {
    switch self {
    case .credentials(let error):
      error.failure.map { "\(error.summary): \($0.details)" } ?? error.description
    case .assumeRole(let role, let error): "\(role): \(error.details)"
    case .password(let error): error.details
    }
  }

  /// Credentials that were kept were refused: new ones may do better. Those of this host were looked for just now if they are
  /// what failed.
  public var meansStaleCredentials: Bool {
    switch self {
    case .credentials: false
    case .assumeRole(_, let error), .password(let error): error.meansStaleCredentials
    }
  }

  /// For whoever administers the Database Service.
  public var mend: String? {
    switch self {
    case .credentials(let error): error.mend
    case .assumeRole(_, let error), .password(let error): error.mend
    }
  }
}
