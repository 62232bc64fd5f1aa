/// Cuts a stream that a `MessageScanner` has let pass into messages, and those that chunk boundaries cut into parts.
///
/// Copies nothing: a part borrows from the chunk it was found in. A value type without allocations.
public struct MessageWalker: Sendable {
  /// A message's body, or the part of it that one chunk holds.
  public struct Part {
    public let type: UInt8
    /// The whole body's length in bytes.
    public let bodyLength: UInt32
    public let isFirst: Bool
    public let isLast: Bool
    public let bytes: UnsafeRawBufferPointer
  }

  private var type: UInt8 = 0
  private var bodyLength: UInt32 = 0
  private var bodyRemaining: UInt32 = 0
  private var headerCount = 0
  private var isInBody = false

  public init() {}

  /// Whether the bytes so far end with a complete message.
  public var isAtMessageBoundary: Bool { !isInBody && headerCount == 0 }

  /// Whether they end within a header, which the next part has behind it.
  public var isWithinHeader: Bool { headerCount > 0 }

  /// Walks over a whole chunk, for those who only want to know where that ends.
  public mutating func walk(_ chunk: UnsafeRawBufferPointer) {
    var position = 0
    while next(chunk, &position) != nil {}
  }

  /// The next part of `chunk` from `position` on, which moves behind it; `nil` at the end of the chunk.
  @inline(__always)
  public mutating func next(_ chunk: UnsafeRawBufferPointer, _ position: inout Int) -> Part? {
    var isFirst = false
    if !isInBody {
      guard readHeader(chunk, &position) else { return nil }
      isInBody = true
      isFirst = true
    }
    let count = min(Int(bodyRemaining), chunk.count - position)
    bodyRemaining -= UInt32(truncatingIfNeeded: count)
    let bytes = UnsafeRawBufferPointer(rebasing: chunk[position..<position + count])
    position += count
    if bodyRemaining == 0 { isInBody = false } else if count == 0, !isFirst { return nil }
    return Part(type: type, bodyLength: bodyLength, isFirst: isFirst, isLast: !isInBody, bytes: bytes)
  }

  @inline(__always)
  private mutating func readHeader(_ chunk: UnsafeRawBufferPointer, _ position: inout Int) -> Bool {
    if headerCount == 0, chunk.count - position >= 5 {
      type = chunk[position]
      begin(UInt32(bigEndian: chunk.loadUnaligned(fromByteOffset: position + 1, as: UInt32.self)))
      position += 5
      return true
    }
    while position < chunk.count {
      if headerCount == 0 { type = chunk[position] } else { bodyLength = bodyLength << 8 | UInt32(chunk[position]) }
      headerCount += 1
      position += 1
      if headerCount == 5 {
        headerCount = 0
        begin(bodyLength)
        return true
      }
    }
    return false
  }

  /// The scanner has refused lengths below four; nothing may trap here all the same.
  @inline(__always)
  private mutating func begin(_ length: UInt32) {
    bodyLength = length &- min(length, 4)
    bodyRemaining = bodyLength
  }
}
