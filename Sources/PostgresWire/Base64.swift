/// Base64 with padding (RFC 4648 section 4), as SCRAM wants it; strict on decoding.
enum Base64 {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  private static let pad = UInt8(ascii: "=")

  static func encode(_ bytes: [UInt8]) -> [UInt8] {
    var text: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let part = bytes[start..<min(start + 3, bytes.count)]
      var group: UInt32 = 0
      for byte in part { group = group << 8 | UInt32(byte) }
      group <<= UInt32(8 * (3 - part.count))
      for position in 0..<4 {
        text.append(position <= part.count ? alphabet[Int(group >> UInt32(18 - 6 * position) & 63)] : pad)
      }
    }
    return text
  }

  /// `nil` for anything but canonical padded Base64.
  static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
    guard text.count % 4 == 0 else { return nil }
    let body = text.prefix { $0 != pad }
    let padding = text.count - body.count
    guard padding <= 2, text.suffix(padding).allSatisfy({ $0 == pad }) else { return nil }
    var bytes: [UInt8] = []
    var group: UInt32 = 0
    var bits = 0
    for character in body {
      guard let value = alphabet.firstIndex(of: character) else { return nil }
      group = group << 6 | UInt32(value)
      bits += 6
      if bits >= 8 {
        bits -= 8
        bytes.append(UInt8(truncatingIfNeeded: group >> UInt32(bits)))
        group &= (1 << UInt32(bits)) - 1
      }
    }
    return group == 0 ? bytes : nil
  }
}
