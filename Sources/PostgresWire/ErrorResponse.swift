import TextForms

/// An ErrorResponse of the database, read with every field optional.
public struct ErrorResponse: Error, Sendable, Equatable {
  public let severity: String?
  public let sqlState: String?
  public let message: String?
  public let detail: String?
  public let hint: String?

  /// Reads the body; missing terminators, unknown and repeated fields are tolerated, the first of a kind counts.
  public init(body: [UInt8]) {
    var fields: [UInt8: String] = [:]
    body.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      while let code = reader.byte(), code != 0 {
        let value = reader.cString() ?? reader.rest()
        if fields[code] == nil { fields[code] = Self.printable(value) }
      }
    }
    severity = fields[UInt8(ascii: "S")]
    sqlState = fields[UInt8(ascii: "C")]
    message = fields[UInt8(ascii: "M")]
    detail = fields[UInt8(ascii: "D")]
    hint = fields[UInt8(ascii: "H")]
  }

  /// At most 1 KiB of text, in one line.
  private static func printable(_ bytes: [UInt8]) -> String {
    SafeText.line(String(decoding: bytes.prefix(1024), as: UTF8.self))
  }
}
