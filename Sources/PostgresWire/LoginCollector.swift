/// Gathers what the database says between AuthenticationOk and ReadyForQuery.
public struct LoginCollector: Sendable {
  /// The database's cancel key, which its clients never see.
  public struct BackendKey: Sendable {
    public let processID: UInt32
    public let secret: [UInt8]
  }

  /// More than any server reports; PostgreSQL 17 sends about 1 KiB.
  private static let maximumStatus = 256 * 1024

  /// ParameterStatus and NoticeResponse messages as received, headers included.
  public private(set) var parameterStatus: [UInt8] = []
  public private(set) var backendKey: BackendKey?
  /// The status byte of ReadyForQuery.
  public private(set) var transactionStatus = UInt8(ascii: "I")

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
