/// Builders of the messages Sallyport writes itself (PostgreSQL documentation, "Message Formats").
public enum Encode {
  public static func sslRequest() -> [UInt8] { untyped([80_877_103]) }

  public static func cancelRequest(processID: UInt32, secret: [UInt8]) -> [UInt8] {
    var packet: [UInt8] = []
    packet.append(uint32: UInt32(clamping: 12 + secret.count))
    packet.append(uint32: 80_877_102)
    packet.append(uint32: processID)
    return packet + secret
  }

  public static func terminate() -> [UInt8] { message("X", []) }

  public static func authenticationOk() -> [UInt8] { message("R", [0, 0, 0, 0]) }

  public static func backendKeyData(processID: UInt32, secret: UInt32) -> [UInt8] {
    var body: [UInt8] = []
    body.append(uint32: processID)
    body.append(uint32: secret)
    return message("K", body)
  }

  /// - Parameter status: `I`, `T` or `E` as a byte.
  public static func readyForQuery(status: UInt8) -> [UInt8] { message("Z", [status]) }

  public static func negotiateProtocolVersion(minor: UInt32, unrecognised: [[UInt8]]) -> [UInt8] {
    var body: [UInt8] = []
    body.append(uint32: minor)
    body.append(uint32: UInt32(clamping: unrecognised.count))
    for name in unrecognised { body += name + [0] }
    return message("v", body)
  }

  /// The longest text of one field; longer ones are cut.
  private static let maximumField = 4096

  /// An ErrorResponse that ends the connection: Sallyport's own errors all do.
  public static func errorResponse(_ error: WireError) -> [UInt8] {
    var body: [UInt8] = []
    func field(_ code: Character, _ text: String?) {
      guard let text, let code = code.asciiValue else { return }
      body.append(code)
      // A NUL would end the field early and let the rest pose as another.
      body += text.utf8.prefix(maximumField).filter { $0 != 0 }
      body.append(0)
    }
    field("S", "FATAL")
    field("V", "FATAL")
    field("C", error.state.rawValue)
    field("M", error.message)
    field("D", error.detail)
    field("H", error.hint)
    body.append(0)
    return message("E", body)
  }

  /// A typed message. Bodies built here are far below 2³¹ bytes; clamping keeps a mistake from wrapping the length.
  static func message(_ type: Character, _ body: [UInt8]) -> [UInt8] {
    var message: [UInt8] = []
    message.reserveCapacity(body.count + 5)
    message.append(type.asciiValue ?? 0)
    message.append(uint32: UInt32(clamping: body.count + 4))
    return message + body
  }

  private static func untyped(_ words: [UInt32]) -> [UInt8] {
    var packet: [UInt8] = []
    packet.append(uint32: UInt32(clamping: 4 + 4 * words.count))
    for word in words { packet.append(uint32: word) }
    return packet
  }
}
