/// What a client's first packet, which has no type byte, can be.
public enum StartupRequest: Sendable {
  case ssl
  case gssEncryption
  case cancel(processID: UInt32, secret: [UInt8])
  case startup(StartupParameters)
}

/// Parser of the first packet (PostgreSQL documentation, "Message Formats": StartupMessage, SSLRequest, CancelRequest).
public enum StartupPacket {
  /// The longest packet that PostgreSQL accepts here, in bytes.
  public static let maximumLength = 10_000

  private static let sslCode: UInt32 = 80_877_103
  private static let gssCode: UInt32 = 80_877_104
  private static let cancelCode: UInt32 = 80_877_102

  /// Reads one packet from the front of `bytes`.
  ///
  /// - Returns: `nil` if more bytes are needed. The declared length is judged before any are waited for.
  public static func parse(
    _ bytes: UnsafeRawBufferPointer
  ) throws(WireError) -> (request: StartupRequest, consumed: Int)? {
    var reader = ByteReader(bytes)
    guard let declared = reader.uint32() else { return nil }
    guard declared >= 8, declared <= UInt32(maximumLength) else {
      throw WireError(.protocolViolation, "invalid length of startup packet")
    }
    guard let code = reader.uint32() else { return nil }
    let length = Int(declared)
    switch code {
    case sslCode, gssCode:
      guard length == 8 else { throw WireError(.protocolViolation, "invalid length of encryption request") }
      return (code == sslCode ? .ssl : .gssEncryption, 8)
    case cancelCode:
      // A key has 4 bytes in protocol 3.0 and up to 256 in 3.2.
      guard (16...268).contains(length) else {
        throw WireError(.protocolViolation, "invalid length of cancel request")
      }
      guard bytes.count >= length, let processID = reader.uint32(), let secret = reader.take(length - 12) else {
        return nil
      }
      return (.cancel(processID: processID, secret: secret), length)
    default:
      guard code >> 16 == 3 else {
        throw WireError(
          .featureNotSupported, "unsupported frontend protocol \(code >> 16).\(code & 0xffff): server supports 3.0")
      }
      guard bytes.count >= length else { return nil }
      let minor = UInt16(truncatingIfNeeded: code)
      let body = UnsafeRawBufferPointer(rebasing: bytes[8..<length])
      return (.startup(try StartupParameters(body, minorVersion: minor)), length)
    }
  }

  /// As above, for a packet that is at hand as a whole.
  public static func parse(_ packet: [UInt8]) throws(WireError) -> (request: StartupRequest, consumed: Int)? {
    let outcome = packet.withUnsafeBytes { bytes in Result { () throws(WireError) in try parse(bytes) } }
    return try outcome.get()
  }
}
