/// The tree of an expression.
indirect enum RegularExpressionNode {
  case scalar(ScalarSet)
  case assertion(RegularExpression.Assertion)
  case sequence([RegularExpressionNode])
  case choice([RegularExpressionNode])
  /// From `least` to `most` times; without `most`, as often as it likes.
  case repetition(RegularExpressionNode, least: Int, most: Int?)
}

/// Reads the text of an expression: one function a level of precedence.
struct RegularExpressionParser {
  /// As in RE2.
  private static let maximumCount = 1000
  /// Bounds the recursion.
  private static let maximumDepth = 64

  private var rest: Substring.UnicodeScalarView
  private var depth = 0

  init(_ text: some StringProtocol) { rest = Substring(text).unicodeScalars }

  mutating func parse() throws -> RegularExpressionNode {
    let node = try choice()
    guard rest.isEmpty else { throw RegularExpressionError("has a ')' without its '('") }
    return node
  }

  private mutating func choice() throws -> RegularExpressionNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.maximumDepth else { throw RegularExpressionError("is nested too deep") }
    var branches = [try sequence()]
    while take("|") { branches.append(try sequence()) }
    return branches.count == 1 ? branches[0] : .choice(branches)
  }

  private mutating func sequence() throws -> RegularExpressionNode {
    var nodes: [RegularExpressionNode] = []
    while let next = rest.first, next != "|", next != ")" { nodes.append(try repetition()) }
    return nodes.count == 1 ? nodes[0] : .sequence(nodes)
  }

  private mutating func repetition() throws -> RegularExpressionNode {
    let node = try atom()
    guard let (least, most) = try quantifier() else { return node }
    // Lazy or greedy is the same to a match of the whole.
    _ = take("?")
    guard try quantifier() == nil else { throw RegularExpressionError("has a repetition of a repetition") }
    return .repetition(node, least: least, most: most)
  }

  private mutating func quantifier() throws -> (Int, Int?)? {
    if take("*") { return (0, nil) }
    if take("+") { return (1, nil) }
    if take("?") { return (0, 1) }
    guard rest.first == "{" else { return nil }
    rest.removeFirst()
    guard let least = number() else {
      throw RegularExpressionError("has a '{' that is no count; write \\{ for the sign")
    }
    var most: Int? = least
    if take(",") { most = rest.first == "}" ? nil : number() ?? -1 }
    guard take("}"), least <= Self.maximumCount, (least...Self.maximumCount).contains(most ?? least) else {
      throw RegularExpressionError("has a wrong count; write {n}, {n,} or {n,m} up to \(Self.maximumCount)")
    }
    return (least, most)
  }

  private mutating func number() -> Int? {
    let digits = rest.prefix { ScalarSet.digit.contains($0) }
    rest = rest.dropFirst(digits.count)
    return Int(String(digits))
  }

  private mutating func atom() throws -> RegularExpressionNode {
    let first = rest.removeFirst()
    switch first {
    case "(": return try group()
    case "[": return .scalar(try set())
    case ".": return .scalar(.notNewline)
    case "^": return .assertion(.textStart)
    case "$": return .assertion(.textEnd)
    case "\\": return try escape()
    case "*", "+", "?", "{": throw RegularExpressionError("repeats nothing with '\(first)'")
    default: return .scalar(.only(first))
    }
  }

  private mutating func group() throws -> RegularExpressionNode {
    if take("?") {
      // Captured or not is the same here; names are read over.
      if !take(":") {
        _ = take("P")
        guard take("<"), case let name = rest.prefix(while: ScalarSet.word.contains), !name.isEmpty else {
          throw RegularExpressionError("has a group (?...) other than (?:...) and (?P<name>...)")
        }
        rest = rest.dropFirst(name.count)
        guard take(">") else { throw RegularExpressionError("has a wrong group name") }
      }
    }
    let node = try choice()
    guard take(")") else { throw RegularExpressionError("has a '(' without its ')'") }
    return node
  }

  private mutating func escape() throws -> RegularExpressionNode {
    switch rest.first {
    case "A":
      rest.removeFirst()
      return .assertion(.textStart)
    case "z":
      rest.removeFirst()
      return .assertion(.textEnd)
    case "b":
      rest.removeFirst()
      return .assertion(.wordBoundary)
    case "B":
      rest.removeFirst()
      return .assertion(.noWordBoundary)
    default: return .scalar(try escapedSet())
    }
  }

  /// What follows a backslash, in classes and outside.
  private mutating func escapedSet() throws -> ScalarSet {
    guard let sign = rest.popFirst() else { throw RegularExpressionError("ends in a '\\'") }
    switch sign {
    case "d": return .digit
    case "D": return .digit.negated
    case "w": return .word
    case "W": return .word.negated
    case "s": return .space
    case "S": return .space.negated
    case "n": return .only("\n")
    case "r": return .only("\r")
    case "t": return .only("\t")
    case "f": return .only("\u{0c}")
    case "v": return .only("\u{0b}")
    default:
      // Only signs: what a letter may mean elsewhere is not guessed.
      guard sign.isASCII, !ScalarSet.word.contains(sign) || sign == "_" else {
        throw RegularExpressionError("has '\\\(sign)', which is not supported")
      }
      return .only(sign)
    }
  }

  /// What stands between brackets.
  private mutating func set() throws -> ScalarSet {
    let isNegated = take("^")
    var ranges: [ClosedRange<UInt32>] = []
    var isFirst = true
    while isFirst || rest.first != "]" {
      isFirst = false
      let low = try member()
      guard rest.first == "-", rest.dropFirst().first != "]", let from = low.single else {
        ranges += low.ranges
        continue
      }
      rest.removeFirst()
      guard let to = try member().single, from <= to else {
        throw RegularExpressionError("has a range that runs backwards")
      }
      ranges.append(from...to)
    }
    rest.removeFirst()
    let set = ScalarSet(ranges: ranges)
    return isNegated ? set.negated : set
  }

  private mutating func member() throws -> ScalarSet {
    guard let scalar = rest.popFirst() else { throw RegularExpressionError("has a '[' without its ']'") }
    if scalar == "\\" { return try escapedSet() }
    guard scalar != "[" || rest.first != ":" else {
      throw RegularExpressionError("has a class [:name:], which is not supported")
    }
    return .only(scalar)
  }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard rest.first == scalar else { return false }
    rest.removeFirst()
    return true
  }
}

extension ScalarSet {
  /// Its scalar, if it has one only.
  fileprivate var single: UInt32? { ranges.count == 1 && ranges[0].count == 1 ? ranges[0].lowerBound : nil }
}
