import PostgresWire

/// Cuts a tunnel's byte stream into messages. Bounded: a message that declares more than the limit ends the tunnel.
public struct TunnelReader: Sendable {
  private var pending: [UInt8] = []
  private var position = 0

  /// Bytes already read that may stay in front before they are dropped.
  private static let compaction = 64 * 1024

  public init() {}

  /// Whether more bytes wait than one message may have: whoever does not read yet need not keep more.
  public var isFull: Bool { pending.count - position > TunnelMessage.maximumLength + 4 }

  /// Takes the next bytes of the stream.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    if position == pending.count {
      pending.removeAll(keepingCapacity: true)
      position = 0
    } else if position > Self.compaction {
      pending.removeFirst(position)
      position = 0
    }
    pending.append(contentsOf: bytes)
  }

  /// The next whole message; `nil` if more bytes are needed.
  ///
  /// - Throws: `WireError` 08P01 for what is not a message.
  public mutating func next() throws(WireError) -> TunnelMessage? {
    let available = pending.count - position
    guard available >= 4 else { return nil }
    let length = pending[position..<position + 4].reduce(0) { $0 << 8 | Int($1) }
    guard (1...TunnelMessage.maximumLength).contains(length) else {
      throw WireError(.protocolViolation, "a tunnel message has an impossible length")
    }
    guard available - 4 >= length else { return nil }
    let start = position + 4
    position = start + length
    guard
      let message = pending.withUnsafeBytes({ TunnelMessage(UnsafeRawBufferPointer(rebasing: $0[start..<position])) })
    else { throw WireError(.protocolViolation, "a tunnel message is malformed") }
    return message
  }

  /// What follows the messages read so far; the reader is empty afterwards.
  public mutating func takeRest() -> [UInt8] {
    defer {
      pending = []
      position = 0
    }
    return Array(pending[position...])
  }
}
