/// What a client has to be told once its session is open, besides its cancel key.
public struct ServerGreeting: Sendable {
  /// ParameterStatus and NoticeResponse messages as received, headers included.
  public let parameterStatus: [UInt8]
  /// The status byte of ReadyForQuery.
  public let transactionStatus: UInt8

  public init(parameterStatus: [UInt8], transactionStatus: UInt8) {
    self.parameterStatus = parameterStatus
    self.transactionStatus = transactionStatus
  }
}

/// Gathers what the database says between AuthenticationOk and ReadyForQuery.
public struct LoginCollector: Sendable {
  /// The database's cancel key, which its clients never see.
  public struct BackendKey: Sendable {
    public let processID: UInt32
    public let secret: [UInt8]
  }

  /// More than any server reports; PostgreSQL 17 sends about 1 KiB.
  private static let maximumStatus = 256 * 1024

  private var parameterStatus: [UInt8] = []
  private var transactionStatus = UInt8(ascii: "I")
  public private(set) var backendKey: BackendKey?

  /// What the messages so far amount to.
  public var greeting: ServerGreeting {
    ServerGreeting(parameterStatus: parameterStatus, transactionStatus: transactionStatus)
  }

  public init() {}

  /// Takes one message; `true` when it was ReadyForQuery.
  public mutating func handle(type: UInt8, body: [UInt8]) throws -> Bool {
    switch type {
    case UInt8(ascii: "S"), UInt8(ascii: "N"):
      guard parameterStatus.count + body.count <= Self.maximumStatus else {
        throw WireError(.programLimit, "too many parameters or notices during the login")
      }
      parameterStatus += Encode.message(Character(Unicode.Scalar(type)), body)
    case UInt8(ascii: "K"):
      let key = body.withUnsafeBytes { bytes -> BackendKey? in
        var reader = ByteReader(bytes)
        guard let processID = reader.uint32(), (4...256).contains(reader.remaining) else { return nil }
        return BackendKey(processID: processID, secret: reader.rest())
      }
      guard let key else { throw WireError(.protocolViolation, "malformed BackendKeyData") }
      backendKey = key
    case UInt8(ascii: "v"): break
    case UInt8(ascii: "Z"):
      guard body.count == 1 else { throw WireError(.protocolViolation, "malformed ReadyForQuery") }
      transactionStatus = body[0]
      return true
    case UInt8(ascii: "E"):
      throw AuthenticationFailure.server(ErrorResponse(body: body))
    default:
      throw WireError(.protocolViolation, "message of type \(type) during the login")
    }
    return false
  }
}
