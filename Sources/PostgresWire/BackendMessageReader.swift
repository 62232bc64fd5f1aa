/// Collects whole messages of the database during the login, where they are few and small.
public struct BackendMessageReader: Sendable {
  /// One message.
  public struct Message: Sendable {
    public let type: UInt8
    public let body: [UInt8]
  }

  /// PostgreSQL's own bound on authentication messages is 65,535 bytes.
  private static let maximumBody = 65_535

  private var buffer: [UInt8] = []

  public init() {}

  /// Takes the next bytes of the stream.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    // One reactor read at most lies behind an incomplete message.
    guard buffer.count + bytes.count <= 4 * Self.maximumBody else {
      throw WireError(.programLimit, "too much data during the login")
    }
    buffer.append(contentsOf: bytes)
  }

  /// The next complete message, or `nil`.
  public mutating func next() throws(WireError) -> Message? {
    guard buffer.count >= 5 else { return nil }
    let length = buffer.withUnsafeBytes {
      UInt32(bigEndian: $0.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
    }
    guard length >= 4, length <= UInt32(Self.maximumBody) + 4 else {
      throw WireError(.protocolViolation, "message of type \(buffer[0]) has an invalid length")
    }
    let end = 1 + Int(length)
    guard buffer.count >= end else { return nil }
    let message = Message(type: buffer[0], body: Array(buffer[5..<end]))
    buffer.removeFirst(end)
    return message
  }

  /// What follows the last message taken; the reader is empty afterwards.
  public mutating func takeRest() -> [UInt8] {
    defer { buffer = [] }
    return buffer
  }
}
