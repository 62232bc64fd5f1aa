/// Reads big-endian fields and NUL-ended strings; every step is checked and none can trap.
///
/// Borrows the buffer it is made over: not to be kept longer than that.
package struct ByteReader {
  private let bytes: UnsafeRawBufferPointer
  package private(set) var position = 0

  package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  package var remaining: Int { bytes.count - position }

  package mutating func byte() -> UInt8? {
    guard remaining >= 1 else { return nil }
    defer { position += 1 }
    return bytes[position]
  }

  package mutating func uint32() -> UInt32? {
    guard remaining >= 4 else { return nil }
    defer { position += 4 }
    return UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt32.self))
  }

  /// Exactly `count` bytes.
  package mutating func take(_ count: Int) -> [UInt8]? {
    guard count >= 0, count <= remaining else { return nil }
    defer { position += count }
    return Array(bytes[position..<position + count])
  }

  /// A length-prefixed run of bytes with at most `limit` bytes.
  package mutating func sized(limit: Int) -> [UInt8]? {
    guard let count = uint32(), count <= UInt32(clamping: limit) else { return nil }
    return take(Int(count))
  }

  /// Bytes up to the next NUL, which is skipped; `nil` if there is none.
  package mutating func cString() -> [UInt8]? {
    guard let end = bytes[position...].firstIndex(of: 0) else { return nil }
    defer { position = end + 1 }
    return Array(bytes[position..<end])
  }

  package mutating func rest() -> [UInt8] { take(remaining) ?? [] }
}

extension Array where Element == UInt8 {
  package mutating func append(uint32 value: UInt32) {
    append(contentsOf: [UInt8(truncatingIfNeeded: value >> 24), UInt8(truncatingIfNeeded: value >> 16)])
    append(contentsOf: [UInt8(truncatingIfNeeded: value >> 8), UInt8(truncatingIfNeeded: value)])
  }
}
