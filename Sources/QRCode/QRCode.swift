/// A QR code symbol (ISO/IEC 18004) in byte mode with error correction level M: a square of dark and light modules.
public struct QRCode: Sendable, Equatable {
  /// Modules along one side, without the quiet zone.
  public let size: Int
  private let modules: [Bool]

  /// Light modules that a symbol needs around it.
  static let quietZone = 4

  /// Encodes the UTF-8 of `text` in the smallest version that holds it; `nil` for more than version 20 does (666 bytes).
  public init?(_ text: String) {
    let payload = Array(text.utf8)
    guard let version = Version.all.first(where: { $0.capacity(inBytes: payload.count) }) else { return nil }
    let codewords = version.interleaved(Self.dataCodewords(payload, version))
    let symbol = Symbol.best(version, codewords)
    size = version.size
    modules = symbol.modules
  }

  /// Whether the module is dark; outside the symbol all are light.
  public subscript(row: Int, column: Int) -> Bool {
    guard (0..<size).contains(row), (0..<size).contains(column) else { return false }
    return modules[row * size + column]
  }

  /// Mode, count, bytes, terminator and padding (clause 7.4).
  private static func dataCodewords(_ payload: [UInt8], _ version: Version) -> [UInt8] {
    var bits = BitWriter()
    bits.append(0b0100, count: 4)
    bits.append(payload.count, count: version.countBits)
    for byte in payload { bits.append(Int(byte), count: 8) }
    let room = version.dataCodewords * 8 - bits.count
    bits.append(0, count: min(4, room) + (8 - (bits.count + min(4, room)) % 8) % 8)
    var codewords = bits.bytes
    var padding: UInt8 = 0xec
    while codewords.count < version.dataCodewords {
      codewords.append(padding)
      padding ^= 0xec ^ 0x11
    }
    return codewords
  }
}

/// Collects bits, most significant first.
private struct BitWriter {
  private(set) var bytes: [UInt8] = []
  private(set) var count = 0

  mutating func append(_ value: Int, count added: Int) {
    for shift in (0..<added).reversed() {
      if count % 8 == 0 { bytes.append(0) }
      if value >> shift & 1 == 1 { bytes[count / 8] |= 0x80 >> UInt8(count % 8) }
      count += 1
    }
  }
}
