import PostgresWire

/// Measures the names of statements and portals in a client's messages, however chunks cut them.
///
/// Format: PostgreSQL documentation, "Message Formats". A value type; calls neither allocate nor lock.
struct NameWatch {
  /// Names of the message at hand whose end has not come.
  private var left = 0
  /// Bytes of the first of them so far.
  private var length = 0

  /// Whether all names that begin in `part` or before it may be short enough still.
  @inline(__always)
  mutating func admits(_ part: MessageWalker.Part) -> Bool {
    if part.isFirst { begin(part.type) }
    return left == 0 || measure(part.bytes)
  }

  private mutating func begin(_ type: UInt8) {
    length = 0
    switch type {
    case UInt8(ascii: "P"), UInt8(ascii: "E"): left = 1
    case UInt8(ascii: "B"): left = 2
    case UInt8(ascii: "C"), UInt8(ascii: "D"):
      left = 1
      // One byte says what is named.
      length = -1
    default: left = 0
    }
  }

  private mutating func measure(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var position = 0
    while left > 0, position < bytes.count {
      if length >= 0, bytes[position] == 0 {
        left -= 1
        length = 0
      } else {
        length += 1
        guard length <= FrontendMessage.maximumName else { return false }
      }
      position += 1
    }
    return true
  }
}
