import CLibPQ
import Foundation
import TextForms

/// Types by their number in pg_type, which never changes for these (pg_type.dat).
private enum TypeNumber {
  static let bytea: Oid = 17
  static let int8: Oid = 20
  static let int2: Oid = 21
  static let int4: Oid = 23
  static let text: Oid = 25
  static let float4: Oid = 700
  static let float8: Oid = 701
}

/// A value as PQsendQueryParams takes it.
struct Parameter {
  let type: Oid
  /// `nil` for NULL; a number ends with NUL.
  let bytes: [UInt8]?
  /// 0 for text, 1 for binary.
  let format: Int32

  init(_ value: ColumnValue) {
    switch value {
    case .null: (type, bytes, format) = (0, nil, 0)
    case .integer(let number): (type, bytes, format) = (TypeNumber.int8, Array("\(number)".utf8) + [0], 0)
    case .real(let number): (type, bytes, format) = (TypeNumber.float8, Array("\(number)".utf8) + [0], 0)
    // The binary form of a text is its bytes, with a length: a NUL within is refused there and does not cut it off here.
    case .text(let text): (type, bytes, format) = (TypeNumber.text, Array(text.utf8), 1)
    case .blob(let data): (type, bytes, format) = (TypeNumber.bytea, Array(data), 1)
    }
  }
}

extension ColumnValue {
  /// A value in text format.
  init(text: String, type: Oid) {
    switch type {
    case TypeNumber.int2, TypeNumber.int4, TypeNumber.int8: self = Int64(text).map(ColumnValue.integer) ?? .text(text)
    case TypeNumber.float4, TypeNumber.float8: self = Double(text).map(ColumnValue.real) ?? .text(text)
    case TypeNumber.bytea:
      // bytea_output's default since PostgreSQL 9.0: \x and hex.
      self = text.hasPrefix("\\x") ? Hex.decode(text.dropFirst(2)).map { .blob(Data($0)) } ?? .text(text) : .text(text)
    default: self = .text(text)
    }
  }
}

/// Lends the texts as C strings, with a closing NULL.
func withCStrings<Result>(_ texts: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> Result) -> Result {
  withBytes(texts.map { Array($0.utf8) + [0] }, body)
}

/// Lends the byte strings by their addresses, `nil` as NULL, and a closing NULL; all for the duration of `body`.
func withBytes<Result>(_ parts: [[UInt8]?], _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> Result) -> Result {
  // One buffer: its address stays while the closure runs, and each part's place in it is known.
  var offsets: [Int?] = []
  var buffer: [UInt8] = []
  for part in parts {
    offsets.append(part == nil ? nil : buffer.count)
    buffer += part ?? []
  }
  // A part of no bytes has an address too: NULL would mean NULL.
  buffer.append(0)
  return buffer.withUnsafeBytes { bytes in
    let base = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
    let pointers =
      offsets.map { offset in offset.flatMap { offset in base.map { UnsafePointer($0 + offset) } } } + [nil]
    return pointers.withUnsafeBufferPointer { body($0.baseAddress) }
  }
}
