/// Readers of frontend message bodies that may have been cut off, for accounts of what was asked.
///
/// Format: PostgreSQL documentation, "Message Formats". A field that is missing reads as `nil`, a name that is cut off as
/// what is there of it; nothing here throws.
public enum FrontendMessage {
  /// Bytes of the name of a statement or portal that PostgreSQL keeps (NAMEDATALEN less one); Redshift keeps more.
  public static let maximumName = 63

  /// A NUL-ended text, and whether its end was there.
  public struct Text: Sendable, Equatable {
    public let bytes: [UInt8]
    public let isWhole: Bool
  }

  /// The first five bytes of a message.
  public static func header(_ type: UInt8, bodyLength: UInt32) -> [UInt8] {
    var header = [type]
    header.append(uint32: bodyLength.addingReportingOverflow(4).overflow ? .max : bodyLength + 4)
    return header
  }

  /// `Q`: the text.
  public static func query(_ body: [UInt8]) -> Text {
    body.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      return text(&reader)
    }
  }

  /// `P`: name and text.
  public static func parse(_ body: [UInt8]) -> (statement: [UInt8], query: Text) {
    body.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      return (name(&reader), text(&reader))
    }
  }

  /// `B`: names, and the values as far as they are there.
  public static func bind(_ body: [UInt8]) -> (portal: [UInt8], statement: [UInt8]?, values: [Value]) {
    body.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      let portal = name(&reader)
      guard reader.remaining > 0 else { return (portal, nil, []) }
      return (portal, name(&reader), values(&reader))
    }
  }

  /// `E`: the portal.
  public static func execute(_ body: [UInt8]) -> [UInt8] {
    body.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      return name(&reader)
    }
  }

  /// `C` and `D`: `S` for a statement or `P` for a portal, and its name.
  public static func target(_ body: [UInt8]) -> (kind: UInt8, name: [UInt8])? {
    body.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      guard let kind = reader.byte() else { return nil }
      return (kind, name(&reader))
    }
  }

  /// `F`: the function's object ID and the arguments.
  public static func functionCall(_ body: [UInt8]) -> (function: UInt32, values: [Value])? {
    body.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      guard let function = reader.uint32() else { return nil }
      return (function, values(&reader))
    }
  }

  /// A parameter as it was sent.
  public enum Value: Sendable, Equatable {
    case null
    case text([UInt8])
    case binary([UInt8])
    /// The captured part of the message ends in or before it.
    case cut
  }

  private static func name(_ reader: inout ByteReader) -> [UInt8] { reader.cString() ?? reader.rest() }

  private static func text(_ reader: inout ByteReader) -> Text {
    if let whole = reader.cString() { return Text(bytes: whole, isWhole: true) }
    return Text(bytes: reader.rest(), isWhole: false)
  }

  /// Format codes, then length-prefixed values.
  private static func values(_ reader: inout ByteReader) -> [Value] {
    guard let formatCount = uint16(&reader) else { return [] }
    var formats: [UInt16] = []
    for _ in 0..<formatCount {
      guard let format = uint16(&reader) else { return [] }
      formats.append(format)
    }
    guard let count = uint16(&reader) else { return [] }
    var values: [Value] = []
    for index in 0..<Int(count) {
      // One format code is for all, none means text.
      let format = formats.count == 1 ? formats[0] : index < formats.count ? formats[index] : 0
      guard let length = reader.uint32() else { return values + [.cut] }
      guard length != .max else {
        values.append(.null)
        continue
      }
      guard let bytes = reader.take(Int(length)) else { return values + [.cut] }
      values.append(format == 0 ? .text(bytes) : .binary(bytes))
    }
    return values
  }

  private static func uint16(_ reader: inout ByteReader) -> UInt16? {
    guard let high = reader.byte(), let low = reader.byte() else { return nil }
    return UInt16(high) << 8 | UInt16(low)
  }
}
