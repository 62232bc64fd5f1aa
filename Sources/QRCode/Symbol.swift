/// A symbol being laid out: function patterns, the codewords in their zigzag, a mask (ISO/IEC 18004, clauses 7.7 to 7.10).
struct Symbol {
  private let version: Version
  private let size: Int
  private(set) var modules: [Bool]
  /// Modules that carry no codeword and are never masked.
  private var isFunction: [Bool]

  /// The layout with the mask that reads best.
  static func best(_ version: Version, _ codewords: [UInt8]) -> Symbol {
    var plain = Symbol(version)
    plain.place(codewords)
    var best = plain.masked(0)
    var lowest = best.penalty()
    for mask in 1..<8 {
      let candidate = plain.masked(mask)
      let penalty = candidate.penalty()
      if penalty < lowest { (best, lowest) = (candidate, penalty) }
    }
    return best
  }

  private init(_ version: Version) {
    self.version = version
    size = version.size
    modules = Array(repeating: false, count: size * size)
    isFunction = modules
    drawFunctionPatterns()
  }

  private mutating func set(_ row: Int, _ column: Int, _ dark: Bool) {
    guard (0..<size).contains(row), (0..<size).contains(column) else { return }
    modules[row * size + column] = dark
    isFunction[row * size + column] = true
  }

  // MARK: Function patterns

  private mutating func drawFunctionPatterns() {
    for index in 0..<size {
      set(6, index, index % 2 == 0)
      set(index, 6, index % 2 == 0)
    }
    for (row, column) in [(3, 3), (3, size - 4), (size - 4, 3)] {
      // The finder with its separator: rings 0 to 4 around the centre.
      for dy in -4...4 {
        for dx in -4...4 {
          let ring = max(abs(dy), abs(dx))
          set(row + dy, column + dx, ring != 2 && ring != 4)
        }
      }
    }
    for row in version.alignment {
      for column in version.alignment where !isFinder(row, column) {
        for dy in -2...2 { for dx in -2...2 { set(row + dy, column + dx, max(abs(dy), abs(dx)) != 1) } }
      }
    }
    drawFormat(mask: 0)
    drawVersion()
  }

  private func isFinder(_ row: Int, _ column: Int) -> Bool {
    let far = size - 7
    return (row == 6 && column == 6) || (row == 6 && column == far) || (row == far && column == 6)
  }

  /// Level M (00) and the mask, with a BCH(15,5) code, twice.
  private mutating func drawFormat(mask: Int) {
    let code = (mask << 10 | Self.remainder(mask, generator: 0x537, bits: 10)) ^ 0x5412
    func bit(_ index: Int) -> Bool { code >> index & 1 == 1 }
    for index in 0...5 { set(index, 8, bit(index)) }
    set(7, 8, bit(6))
    set(8, 8, bit(7))
    set(8, 7, bit(8))
    for index in 9..<15 { set(8, 14 - index, bit(index)) }
    for index in 0..<8 { set(8, size - 1 - index, bit(index)) }
    for index in 8..<15 { set(size - 15 + index, 8, bit(index)) }
    set(size - 8, 8, true)
  }

  /// The version with a BCH(18,6) code, twice, from version 7 on.
  private mutating func drawVersion() {
    guard version.number >= 7 else { return }
    let code = version.number << 12 | Self.remainder(version.number, generator: 0x1f25, bits: 12)
    for index in 0..<18 {
      let (far, near) = (size - 11 + index % 3, index / 3)
      set(near, far, code >> index & 1 == 1)
      set(far, near, code >> index & 1 == 1)
    }
  }

  private static func remainder(_ value: Int, generator: Int, bits: Int) -> Int {
    var remainder = value
    for _ in 0..<bits { remainder = remainder << 1 ^ (remainder >> (bits - 1) & 1) * generator }
    return remainder
  }

  // MARK: Codewords and mask

  private mutating func place(_ codewords: [UInt8]) {
    var bit = 0
    var right = size - 1
    var isUpward = true
    while right >= 1 {
      // The vertical timing pattern is no column of the zigzag.
      if right == 6 { right = 5 }
      for step in 0..<size {
        let row = isUpward ? size - 1 - step : step
        for column in [right, right - 1] where !isFunction[row * size + column] && bit < codewords.count * 8 {
          modules[row * size + column] = codewords[bit / 8] >> UInt8(7 - bit % 8) & 1 == 1
          bit += 1
        }
      }
      isUpward.toggle()
      right -= 2
    }
  }

  private func masked(_ mask: Int) -> Symbol {
    var result = self
    for row in 0..<size {
      for column in 0..<size where !isFunction[row * size + column] && Self.inverts(mask, row, column) {
        result.modules[row * size + column].toggle()
      }
    }
    result.drawFormat(mask: mask)
    return result
  }

  private static func inverts(_ mask: Int, _ row: Int, _ column: Int) -> Bool {
    switch mask {
    case 0: (row + column) % 2 == 0
    case 1: row % 2 == 0
    case 2: column % 3 == 0
    case 3: (row + column) % 3 == 0
    case 4: (row / 2 + column / 3) % 2 == 0
    case 5: row * column % 2 + row * column % 3 == 0
    case 6: (row * column % 2 + row * column % 3) % 2 == 0
    default: ((row + column) % 2 + row * column % 3) % 2 == 0
    }
  }

  // MARK: Penalty (clause 7.8.3)

  private func penalty() -> Int {
    var total = 0
    for index in 0..<size {
      total += Self.linePenalty((0..<size).map { modules[index * size + $0] })
      total += Self.linePenalty((0..<size).map { modules[$0 * size + index] })
    }
    for row in 0..<size - 1 {
      for column in 0..<size - 1 {
        let dark = modules[row * size + column]
        if dark == modules[row * size + column + 1], dark == modules[(row + 1) * size + column],
          dark == modules[(row + 1) * size + column + 1]
        {
          total += 3
        }
      }
    }
    let darkPercent = modules.count(where: { $0 }) * 100 / modules.count
    return total + abs(darkPercent - 50) / 5 * 10
  }

  private static let finderLike: [[Bool]] = [
    [true, false, true, true, true, false, true, false, false, false, false],
    [false, false, false, false, true, false, true, true, true, false, true],
  ]

  private static func linePenalty(_ line: [Bool]) -> Int {
    var total = 0
    var run = 0
    for (index, dark) in line.enumerated() {
      run = index > 0 && dark == line[index - 1] ? run + 1 : 1
      if run == 5 { total += 3 } else if run > 5 { total += 1 }
    }
    for start in 0...line.count - 11 where finderLike.contains(Array(line[start..<start + 11])) { total += 40 }
    return total
  }
}
