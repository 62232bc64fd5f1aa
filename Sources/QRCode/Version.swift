/// One of the symbol sizes, with its share of error correction at level M (ISO/IEC 18004, tables 1, 9 and E.1).
struct Version {
  let number: Int
  /// All codewords, data and correction.
  let codewords: Int
  let correctionPerBlock: Int
  let blocks: Int
  /// Rows and columns of the alignment patterns' centres.
  let alignment: [Int]

  var size: Int { 17 + 4 * number }
  var dataCodewords: Int { codewords - correctionPerBlock * blocks }
  /// Bits of the character count in byte mode.
  var countBits: Int { number < 10 ? 8 : 16 }

  /// Whether that many bytes fit behind mode and count.
  func capacity(inBytes count: Int) -> Bool { 4 + countBits + 8 * count <= 8 * dataCodewords }

  static let all: [Version] = [
    Version(1, 26, 10, 1, []), Version(2, 44, 16, 1, [6, 18]), Version(3, 70, 26, 1, [6, 22]),
    Version(4, 100, 18, 2, [6, 26]), Version(5, 134, 24, 2, [6, 30]), Version(6, 172, 16, 4, [6, 34]),
    Version(7, 196, 18, 4, [6, 22, 38]), Version(8, 242, 22, 4, [6, 24, 42]), Version(9, 292, 22, 5, [6, 26, 46]),
    Version(10, 346, 26, 5, [6, 28, 50]), Version(11, 404, 30, 5, [6, 30, 54]), Version(12, 466, 22, 8, [6, 32, 58]),
    Version(13, 532, 22, 9, [6, 34, 62]), Version(14, 581, 24, 9, [6, 26, 46, 66]),
    Version(15, 655, 24, 10, [6, 26, 48, 70]), Version(16, 733, 28, 10, [6, 26, 50, 74]),
    Version(17, 815, 28, 11, [6, 30, 54, 78]), Version(18, 901, 26, 13, [6, 30, 56, 82]),
    Version(19, 991, 26, 14, [6, 30, 58, 86]), Version(20, 1085, 26, 16, [6, 34, 62, 90]),
  ]

  private init(_ number: Int, _ codewords: Int, _ correction: Int, _ blocks: Int, _ alignment: [Int]) {
    self.number = number
    self.codewords = codewords
    correctionPerBlock = correction
    self.blocks = blocks
    self.alignment = alignment
  }

  /// Data in blocks, each with its correction, all read column by column (clause 7.6).
  func interleaved(_ data: [UInt8]) -> [UInt8] {
    let short = data.count / blocks
    let longBlocks = data.count % blocks
    let correction = ReedSolomon(degree: correctionPerBlock)
    var parts: [(data: ArraySlice<UInt8>, correction: [UInt8])] = []
    var start = 0
    for index in 0..<blocks {
      // Blocks with one codeword more come last.
      let end = start + short + (index >= blocks - longBlocks ? 1 : 0)
      parts.append((data[start..<end], correction.remainder(of: data[start..<end])))
      start = end
    }
    var result: [UInt8] = []
    for offset in 0...short {
      for part in parts where offset < part.data.count { result.append(part.data[part.data.startIndex + offset]) }
    }
    for offset in 0..<correctionPerBlock {
      for part in parts { result.append(part.correction[offset]) }
    }
    return result
  }
}

/// Error correction over GF(256) with the polynomial x⁸ + x⁴ + x³ + x² + 1.
struct ReedSolomon {
  /// Coefficients of the generator behind the leading 1, highest power first.
  private let generator: [UInt8]

  init(degree: Int) {
    var polynomial = [UInt8](repeating: 0, count: degree)
    polynomial[degree - 1] = 1
    var root: UInt8 = 1
    for _ in 0..<degree {
      for index in 0..<degree {
        polynomial[index] = Self.product(polynomial[index], root)
        if index + 1 < degree { polynomial[index] ^= polynomial[index + 1] }
      }
      root = Self.product(root, 2)
    }
    generator = polynomial
  }

  func remainder(of data: ArraySlice<UInt8>) -> [UInt8] {
    var remainder = [UInt8](repeating: 0, count: generator.count)
    for byte in data {
      let factor = byte ^ remainder.removeFirst()
      remainder.append(0)
      for index in generator.indices { remainder[index] ^= Self.product(generator[index], factor) }
    }
    return remainder
  }

  private static func product(_ a: UInt8, _ b: UInt8) -> UInt8 {
    var result: UInt8 = 0
    for shift in (0..<8).reversed() {
      result = (result << 1) ^ (result & 0x80 != 0 ? 0x1d : 0)
      if b >> UInt8(shift) & 1 == 1 { result ^= a }
    }
    return result
  }
}
