/// Builders of the messages Sallyport writes itself (PostgreSQL documentation, "Message Formats").
public enum Encode {
  public static func sslRequest() -> [UInt8] { untyped([80_877_103]) }

  /// A startup packet of protocol 3.0.
  ///
  /// - Throws: 22023 for a text with a NUL in it, 54000 if the packet is longer than PostgreSQL takes.
  public static func startup(
    user: String, database: String, parameters: [(name: String, value: String)] = []
  ) throws(WireError) -> [UInt8] {
    try startup(
      ([("user", user), ("database", database)] + parameters).map { (Array($0.0.utf8), Array($0.1.utf8)) })
  }

  /// As above, from the pairs' bytes.
  static func startup(_ pairs: [(name: [UInt8], value: [UInt8])]) throws(WireError) -> [UInt8] {
    var body: [UInt8] = []
    body.append(uint32: 3 << 16)
    for (name, value) in pairs {
      guard !name.contains(0), !value.contains(0) else {
        throw WireError(.invalidParameter, "a startup parameter holds a NUL byte")
      }
      body += name + [0] + value + [0]
    }
    body.append(0)
    guard body.count + 4 <= StartupPacket.maximumLength else {
      throw WireError(.programLimit, "the startup parameters are too long for the database")
    }
    var packet: [UInt8] = []
    packet.append(uint32: UInt32(body.count + 4))
    return packet + body
  }

  /// A simple query.
  public static func query(_ text: String) -> [UInt8] { message("Q", Array(text.utf8) + [0]) }

  public static func cancelRequest(processID: UInt32, secret: [UInt8]) -> [UInt8] {
    var packet: [UInt8] = []
    packet.append(uint32: UInt32(clamping: 12 + secret.count))
    packet.append(uint32: 80_877_102)
    packet.append(uint32: processID)
    return packet + secret
  }

  public static func terminate() -> [UInt8] { message("X", []) }

  /// Has the database send what it has to say, without ending a transaction as Sync does.
  public static func flush() -> [UInt8] { message("H", []) }

  public static func authenticationOk() -> [UInt8] { message("R", [0, 0, 0, 0]) }

  public static func backendKeyData(processID: UInt32, secret: UInt32) -> [UInt8] {
    var body: [UInt8] = []
    body.append(uint32: processID)
    body.append(uint32: secret)
    return message("K", body)
  }

  public static func parameterStatus(name: [UInt8], value: [UInt8]) -> [UInt8] {
    message("S", name + [0] + value + [0])
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
