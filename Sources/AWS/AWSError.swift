/// A failed call or missing configuration: AWS's code, its message and the mend. Never holds a secret.
public struct AWSError: AWSFailure, Equatable, CustomStringConvertible {
  /// AWS's error code, or one of ours: `InvalidResponse`, `Timeout`, `Unreachable`, `InvalidParameter`.
  public let code: String
  public let message: String
  public var mend: String?
  /// HTTP status, 0 if there was no answer.
  public let status: Int
  /// Which call failed; `nil` if the error is not one of a call.
  public var call: Call?

  /// The call that an error is about.
  public struct Call: Sendable, Equatable {
    /// Name of the service, such as `sts`.
    public let service: String
    /// Name of the action, such as `AssumeRole`.
    public let operation: String
    /// Host and port that were asked.
    public let endpoint: String
    /// AWS's number of the request, for its support; `nil` if it gave none.
    public let requestID: String?
  }

  public init(_ code: String, _ message: String, mend: String? = nil, status: Int = 0) {
    self.code = code
    self.message = message
    self.mend = mend
    self.status = status
  }

  public var description: String { "\(code): \(message)" }

  /// Everything that helps to find the call again, for logs.
  public var details: String {
    guard let call else { return description }
    let id = call.requestID.map { ", request id \($0)" } ?? ""
    return "\(description) (\(call.service) \(call.operation) at \(call.endpoint), status code \(status)\(id))"
  }

  /// The same error with a mend, if it has none yet.
  func mended(_ mend: @autoclosure () -> String?) -> AWSError {
    var error = self
    if error.mend == nil { error.mend = mend() }
    return error
  }

  /// There was no connection, or it broke: other than with `Timeout` nothing was waited for.
  var isUnreachable: Bool { code == "Unreachable" }

  /// The request was dated wrongly: the server's clock can be learnt from its answer.
  var isClockSkew: Bool {
    [
      "RequestTimeTooSkewed", "SignatureDoesNotMatch", "RequestExpired", "RequestInTheFuture",
      "InvalidSignatureException",
    ].contains(code)
  }

  /// The credentials used are void by now: looking for them again may give good ones.
  public var meansStaleCredentials: Bool {
    [
      "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException",
    ].contains(code)
  }
}
