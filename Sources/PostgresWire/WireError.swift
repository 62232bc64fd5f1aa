/// The SQLSTATE codes Sallyport sends (PostgreSQL documentation, appendix A).
public enum SQLState: String, Sendable {
  case protocolViolation = "08P01"
  case cannotConnect = "08001"
  /// The proxy knows no Database Service of the database that is connected to it now.
  case noDatabaseService = "08004"
  case connectionFailure = "08006"
  case featureNotSupported = "0A000"
  case invalidParameter = "22023"
  case invalidAuthorization = "28000"
  case invalidCatalog = "3D000"
  case nameTooLong = "42622"
  case tooManyConnections = "53300"
  case programLimit = "54000"
  case queryCanceled = "57014"
  case adminShutdown = "57P01"
  case cannotConnectNow = "57P03"
  case idleSessionTimeout = "57P05"
  case internalError = "XX000"
}

/// An error in the shape of an ErrorResponse: what is wrong and, in the hint, the mend.
public struct WireError: Error, Sendable, Equatable {
  public let state: SQLState
  public let message: String
  public let detail: String?
  public let hint: String?

  public init(_ state: SQLState, _ message: String, detail: String? = nil, hint: String? = nil) {
    self.state = state
    self.message = message
    self.detail = detail
    self.hint = hint
  }
}
