/// Collects whole messages of the database during the login, where they are few and small.
public struct BackendMessageReader: Sendable {
  /// One message.
  public struct Message: Sendable {
    public let type: UInt8
    public let body: [UInt8]
  }

  /// PostgreSQL's own bound on authentication messages is 65,535 bytes.
  private static let maximumBody = 65_535
  /// What a whole login may consist of: PostgreSQL needs about 20 messages and 2 KiB.
  private static let maximumMessages = 10_000
  private static let maximumTotal = 1 << 20

  private var buffer: [UInt8] = []
  /// Where the next message begins; what lies before it is dropped by `append`, not message by message.
  private var start = 0
  private var messages = 0
  private var total = 0

  public init() {}

  /// Takes the next bytes of the stream.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    buffer.removeFirst(start)
    start = 0
    total += bytes.count
    // One reactor read at most lies behind an incomplete message.
    guard total <= Self.maximumTotal, buffer.count + bytes.count <= 4 * Self.maximumBody else {
      throw WireError(.programLimit, "too much data during the login")
    }
    buffer.append(contentsOf: bytes)
  }

  /// As above, for bytes that are at hand as an array.
  public mutating func append(_ bytes: [UInt8]) throws(WireError) {
    let outcome = bytes.withUnsafeBytes { bytes in Result { () throws(WireError) in try append(bytes) } }
    try outcome.get()
  }

  /// The next complete message, or `nil`.
  public mutating func next() throws(WireError) -> Message? {
    guard buffer.count - start >= 5 else { return nil }
    let length = buffer.withUnsafeBytes {
      UInt32(bigEndian: $0.loadUnaligned(fromByteOffset: start + 1, as: UInt32.self))
    }
    guard length >= 4, length <= UInt32(Self.maximumBody) + 4 else {
      throw WireError(.protocolViolation, "message of type \(buffer[start]) has an invalid length")
    }
    let end = start + 1 + Int(length)
    guard buffer.count >= end else { return nil }
    messages += 1
    guard messages <= Self.maximumMessages else {
      throw WireError(.programLimit, "too many messages during the login")
    }
    let message = Message(type: buffer[start], body: Array(buffer[(start + 5)..<end]))
    start = end
    return message
  }

  /// What follows the last message taken; the reader is empty afterwards.
  public mutating func takeRest() -> [UInt8] {
    defer { (buffer, start) = ([], 0) }
    return Array(buffer[start...])
  }
}
