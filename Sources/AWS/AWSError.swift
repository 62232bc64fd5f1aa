/// A failed call or missing configuration: AWS's code, its message and the mend. Never holds a secret.
public struct AWSError: Error, Sendable, Equatable, CustomStringConvertible {
  /// AWS's error code, or one of ours: `NoCredentialProviders`, `InvalidResponse`, `Timeout`, `InvalidParameter`.
  public let code: String
  public let message: String
  public let mend: String?
  /// HTTP status, 0 if there was no answer.
  public let status: Int

  public init(_ code: String, _ message: String, mend: String? = nil, status: Int = 0) {
    self.code = code
    self.message = message
    self.mend = mend
    self.status = status
  }

  public var description: String { "\(code): \(message)" }

  /// Worth another try (the SDKs' standard retry mode).
  var isTransient: Bool {
    status >= 500 || status == 429 || code == "Timeout"
      || ["Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "RequestTimeout"]
        .contains(code)
  }

  /// The request was dated wrongly: the server's clock can be learnt from its answer.
  var isClockSkew: Bool {
    ["RequestTimeTooSkewed", "SignatureDoesNotMatch", "RequestExpired", "InvalidSignatureException"].contains(code)
  }

  var isExpiredToken: Bool { code == "ExpiredToken" || code == "ExpiredTokenException" }
}
