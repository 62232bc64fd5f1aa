import Foundation

/// JSON text with what JSON lets stand but readers of lines and terminals act on written as `\u` escapes: DEL, the C1
/// controls (U+0085 ends lines), U+2028 and U+2029, and the marks that turn the direction of text.
///
/// - Parameter json: UTF-8; such characters can only stand within its strings.
func escapedForTerminals(_ json: Data) -> Data {
  // All of them begin with one of these bytes: records without are taken as they are.
  guard json.contains(where: { $0 == 0x7f || $0 == 0xc2 || $0 == 0xd8 || $0 == 0xe2 }) else { return json }
  var escaped = ""
  for scalar in String(decoding: json, as: UTF8.self).unicodeScalars {
    switch scalar.value {
    case 0x7f...0x9f, 0x61c, 0x200e...0x200f, 0x2028...0x202e, 0x2066...0x2069:
      let hex = String(scalar.value, radix: 16)
      escaped += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
    default: escaped.unicodeScalars.append(scalar)
    }
  }
  return Data(escaped.utf8)
}
