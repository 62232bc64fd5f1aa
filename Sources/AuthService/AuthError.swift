import ControlAPI

/// A request that cannot be served: what is wrong and the mend.
public enum AuthError: Error, Sendable, Equatable, CustomStringConvertible {
  case invalid(String, hint: String? = nil)
  /// Wrong name or password, expired link...: deliberately without detail.
  case unauthenticated(String)
  case forbidden(String, hint: String? = nil)
  case notFound(String)
  case exists(String, hint: String?)
  case tooMany(String)
  /// Something that is needed is out of reach for now.
  case unavailable(String)
  case `internal`(String)

  /// The HTTP status it is answered with.
  public var status: Int {
    switch self {
    case .invalid: 400
    case .unauthenticated: 401
    case .forbidden: 403
    case .notFound: 404
    case .exists: 409
    case .tooMany: 429
    case .unavailable: 503
    case .internal: 500
    }
  }

  /// The answer's body; has the hint, where there is one, beside the message.
  public var body: ErrorBody {
    switch self {
    case .invalid(let message, let hint), .forbidden(let message, let hint), .exists(let message, let hint):
      ErrorBody(message: message, hint: hint)
    case .unauthenticated(let message), .notFound(let message), .tooMany(let message), .unavailable(let message),
      .internal(let message):
      ErrorBody(message: message)
    }
  }

  /// The message alone.
  public var description: String { body.error.message }

  /// Whether the text was written for who asked, not for who runs the server.
  public var isForCaller: Bool { if case .internal = self { false } else { true } }
}
