/// JSON under construction, as bytes. Whatever goes in, a finished object is one line of printable text.
///
/// Beyond what RFC 8259 demands, everything that a terminal or a line reader could act on is escaped: C0 and C1 controls,
/// DEL, the separators U+2028 and U+2029, and characters that reorder or hide their neighbours. Bytes that are not UTF-8
/// are shown as the text `\xNN`.
public struct JSONText: Sendable {
  public internal(set) var bytes: [UInt8] = []

  public init() {}

  // MARK: Fields

  /// Appends `"name":"value",`; the value need not be UTF-8.
  public mutating func field(_ name: StaticString, _ value: UnsafeRawBufferPointer) {
    key(name)
    string(value)
    bytes.append(UInt8(ascii: ","))
  }

  public mutating func field(_ name: StaticString, _ value: String) {
    key(name)
    string(value)
    bytes.append(UInt8(ascii: ","))
  }

  public mutating func field(_ name: StaticString, _ value: Int) {
    key(name)
    number(value)
    bytes.append(UInt8(ascii: ","))
  }

  public mutating func field(_ name: StaticString, _ value: Bool) {
    key(name)
    append(value ? "true," : "false,")
  }

  public mutating func field(_ name: StaticString, _ values: [String]) {
    key(name)
    bytes.append(UInt8(ascii: "["))
    for (index, value) in values.enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      string(value)
    }
    append("],")
  }

  /// Appends an object, its keys in order.
  public mutating func field(_ name: StaticString, _ pairs: [String: String]) {
    key(name)
    bytes.append(UInt8(ascii: "{"))
    for (index, pair) in pairs.sorted(by: { $0.key < $1.key }).enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      string(pair.key)
      bytes.append(UInt8(ascii: ":"))
      string(pair.value)
    }
    append("},")
  }

  /// Appends fields that another `JSONText` has formed.
  public mutating func fields(_ formed: [UInt8]) { bytes.append(contentsOf: formed) }

  // MARK: Parts

  mutating func append(_ text: StaticString) {
    bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  private mutating func key(_ name: StaticString) {
    bytes.append(UInt8(ascii: "\""))
    append(name)
    append("\":")
  }

  mutating func number(_ value: Int) {
    var text = value
    guard text != 0 else { return bytes.append(UInt8(ascii: "0")) }
    if text < 0 { bytes.append(UInt8(ascii: "-")) }
    let start = bytes.count
    while text != 0 {
      bytes.append(UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: (text % 10).magnitude))
      text /= 10
    }
    bytes[start...].reverse()
  }

  public mutating func string(_ text: String) {
    var text = text
    text.withUTF8 { string(UnsafeRawBufferPointer($0)) }
  }

  public mutating func string(_ text: UnsafeRawBufferPointer) {
    bytes.append(UInt8(ascii: "\""))
    escaped(text)
    bytes.append(UInt8(ascii: "\""))
  }

  /// The inside of a string.
  mutating func escaped(_ text: UnsafeRawBufferPointer) {
    var position = 0
    while position < text.count {
      let start = position
      while position < text.count, Self.isPlain(text[position]) { position += 1 }
      if position > start { bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: text[start..<position])) }
      guard position < text.count else { return }
      position += special(text, at: position)
    }
  }

  @inline(__always)
  private static func isPlain(_ byte: UInt8) -> Bool {
    byte >= 0x20 && byte < 0x7f && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
  }

  /// Whether `line` has nothing in it that `JSONText` would have escaped for the sake of terminals and line readers.
  public static func isPrintable(_ line: UnsafeRawBufferPointer) -> Bool {
    var position = 0
    while position < line.count {
      if line[position] >= 0x20, line[position] < 0x7f {
        position += 1
      } else {
        guard let (scalar, length) = scalar(line, at: position), !isDeceptive(scalar) else { return false }
        position += length
      }
    }
    return true
  }

  /// Appends what stands at `position` and is not plain ASCII; returns its length in bytes.
  private mutating func special(_ text: UnsafeRawBufferPointer, at position: Int) -> Int {
    let byte = text[position]
    switch byte {
    case UInt8(ascii: "\""): append("\\\"")
    case UInt8(ascii: "\\"): append("\\\\")
    case 0x0a: append("\\n")
    case 0x0d: append("\\r")
    case 0x09: append("\\t")
    case 0..<0x20, 0x7f: unicode(UInt16(byte))
    default:
      guard let (scalar, length) = Self.scalar(text, at: position) else {
        append("\\\\x")
        hex(byte)
        return 1
      }
      guard Self.isDeceptive(scalar) else {
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: text[position..<position + length]))
        return length
      }
      if let unit = UInt16(exactly: scalar) {
        unicode(unit)
      } else {
        // Beyond the basic plane JSON knows surrogate pairs only (RFC 8259 section 7).
        unicode(UInt16(truncatingIfNeeded: 0xd800 + (scalar - 0x10000) >> 10))
        unicode(UInt16(truncatingIfNeeded: 0xdc00 + (scalar - 0x10000) & 0x3ff))
      }
      return length
    }
    return 1
  }

  /// Decodes one well-formed UTF-8 sequence of two to four bytes (Unicode standard, table 3-7).
  private static func scalar(_ text: UnsafeRawBufferPointer, at position: Int) -> (UInt32, Int)? {
    let first = text[position]
    let length: Int
    switch first {
    case 0xc2...0xdf: length = 2
    case 0xe0...0xef: length = 3
    case 0xf0...0xf4: length = 4
    default: return nil
    }
    guard position + length <= text.count else { return nil }
    var scalar = UInt32(first) & (0x7f >> UInt32(length))
    for index in position + 1..<position + length {
      guard text[index] & 0xc0 == 0x80 else { return nil }
      scalar = scalar << 6 | UInt32(text[index] & 0x3f)
    }
    switch length {
    case 3: guard scalar >= 0x800, !(0xd800...0xdfff).contains(scalar) else { return nil }
    case 4: guard (0x10000...0x10ffff).contains(scalar) else { return nil }
    default: break
    }
    return (scalar, length)
  }

  /// Controls, separators, and characters that are invisible or turn the direction of text around.
  private static func isDeceptive(_ scalar: UInt32) -> Bool {
    switch scalar {
    case 0x80...0x9f, 0xad, 0x61c, 0x180e, 0x200b...0x200f, 0x2028...0x202e, 0x2060...0x206f, 0xfeff, 0xfff9...0xfffb,
      0xe0000...0xe007f:
      true
    default: false
    }
  }

  private mutating func unicode(_ unit: UInt16) {
    append("\\u")
    hex(UInt8(truncatingIfNeeded: unit >> 8))
    hex(UInt8(truncatingIfNeeded: unit))
  }

  /// Two lower-case digits.
  mutating func hex(_ byte: UInt8) {
    bytes.append(Self.digit(byte >> 4))
    bytes.append(Self.digit(byte & 15))
  }

  @inline(__always)
  private static func digit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
  }
}
