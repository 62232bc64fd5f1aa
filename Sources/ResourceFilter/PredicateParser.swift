/// A word of the query language and the column (from 1) it begins at.
struct PredicateToken {
  enum Kind: Equatable {
    case word(String)
    case string(String)
    case symbol(String)
    case end
  }

  let kind: Kind
  let column: Int

  private static let symbols = ["&&", "||", "==", "!=", "!", "(", ")", "[", "]", ",", "."]

  static func all(in text: String) throws(FilterError) -> [PredicateToken] {
    var tokens: [PredicateToken] = []
    let characters = Array(text)
    var position = 0
    while position < characters.count {
      let column = position + 1
      let character = characters[position]
      if character.isWhitespace {
        position += 1
      } else if character == "\"" || character == "'" {
        guard let end = characters[(position + 1)...].firstIndex(of: character) else {
          throw FilterError("column \(column): the string has no closing \(character)")
        }
        tokens.append(.init(kind: .string(String(characters[position + 1..<end])), column: column))
        position = end + 1
      } else if character.isLetter || character == "_" {
        let end = characters[position...].firstIndex { !($0.isLetter || $0.isNumber || "_-".contains($0)) }
        tokens.append(.init(kind: .word(String(characters[position..<(end ?? characters.count)])), column: column))
        position = end ?? characters.count
      } else {
        let rest = String(characters[position..<min(position + 2, characters.count)])
        guard let symbol = symbols.first(where: { rest.hasPrefix($0) }) else {
          throw FilterError("column \(column): '\(character)' has no meaning here")
        }
        tokens.append(.init(kind: .symbol(symbol), column: column))
        position += symbol.count
      }
    }
    tokens.append(.init(kind: .end, column: characters.count + 1))
    return tokens
  }
}

/// Recursive descent; `||` binds weaker than `&&`, that weaker than `!`.
struct PredicateParser {
  let tokens: [PredicateToken]
  private var position = 0
  private var depth = 0

  init(tokens: [PredicateToken]) { self.tokens = tokens }

  private var next: PredicateToken { tokens[min(position, tokens.count - 1)] }

  mutating func parse() throws(FilterError) -> ResourcePredicate.Condition {
    let condition = try alternatives()
    guard next.kind == .end else { throw complaint("something follows that does not belong to the query") }
    return condition
  }

  private mutating func alternatives() throws(FilterError) -> ResourcePredicate.Condition {
    depth += 1
    defer { depth -= 1 }
    guard depth <= ResourcePredicate.maximumDepth else {
      throw complaint("nested deeper than \(ResourcePredicate.maximumDepth) levels")
    }
    var parts = [try conjunction()]
    while take("||") { parts.append(try conjunction()) }
    return parts.count == 1 ? parts[0] : .any(parts)
  }

  private mutating func conjunction() throws(FilterError) -> ResourcePredicate.Condition {
    var parts = [try negation()]
    while take("&&") { parts.append(try negation()) }
    return parts.count == 1 ? parts[0] : .all(parts)
  }

  private mutating func negation() throws(FilterError) -> ResourcePredicate.Condition {
    var isNegated = false
    while take("!") { isNegated.toggle() }
    let condition = try primary()
    return isNegated ? .not(condition) : condition
  }

  private mutating func primary() throws(FilterError) -> ResourcePredicate.Condition {
    if take("(") {
      let inner = try alternatives()
      try expect(")")
      return inner
    }
    if case .word(let name) = next.kind, tokens[min(position + 1, tokens.count - 1)].kind == .symbol("(") {
      return try call(name)
    }
    let left = try text()
    if take("==") { return .equal(left, try text()) }
    if take("!=") { return .not(.equal(left, try text())) }
    throw complaint("== or != is expected")
  }

  private mutating func call(_ name: String) throws(FilterError) -> ResourcePredicate.Condition {
    let unknown = complaint("there is no function '\(name)'; use equals, hasPrefix, exists or search")
    position += 2
    var arguments: [ResourcePredicate.Text] = []
    if !take(")") {
      repeat { arguments.append(try text()) } while take(",")
      try expect(")")
    }
    switch (name, arguments.count) {
    case ("equals", 2): return .equal(arguments[0], arguments[1])
    case ("hasPrefix", 2): return .hasPrefix(arguments[0], arguments[1])
    case ("exists", 1):
      guard case .label(let key) = arguments[0] else { throw complaint("exists takes a label, as in labels[\"env\"]") }
      return .exists(key)
    case ("search", 1...):
      var words: [String] = []
      for argument in arguments {
        guard case .literal(let word) = argument else { throw complaint("search takes strings") }
        words.append(word)
      }
      return .search(words)
    case ("equals", _), ("hasPrefix", _), ("exists", _), ("search", _):
      throw complaint("'\(name)' has the wrong number of arguments")
    default: throw unknown
    }
  }

  /// A string, a field such as `name` or `resource.spec.uri`, or a label: `labels["env"]`, `labels.env`.
  private mutating func text() throws(FilterError) -> ResourcePredicate.Text {
    let start = next
    position += 1
    switch start.kind {
    case .string(let value): return .literal(value)
    case .word(let first): return try path(from: first, at: start)
    default:
      position -= 1
      throw complaint("a string or a field is expected")
    }
  }

  private mutating func path(from first: String, at start: PredicateToken) throws(FilterError) -> ResourcePredicate.Text
  {
    var words = [first]
    while take(".") { words.append(try word()) }
    // Teleport's long form of the same fields.
    if words.count > 2, words[0] == "resource", words[1] == "metadata" || words[1] == "spec" { words.removeFirst(2) }
    if words == ["labels"] {
      try expect("[")
      guard case .string(let key) = next.kind else { throw complaint("a label's name in quotes is expected") }
      position += 1
      try expect("]")
      return .label(key)
    }
    if words.count == 2, words[0] == "labels" { return .label(words[1]) }
    if words.count == 1, let field = ResourcePredicate.Field(rawValue: words[0]) { return .field(field) }
    throw FilterError(
      "column \(start.column): there is no field '\(words.joined(separator: "."))'; use name, description, protocol, uri "
        + "or labels[\"KEY\"]")
  }

  private mutating func word() throws(FilterError) -> String {
    guard case .word(let word) = next.kind else { throw complaint("a name is expected") }
    position += 1
    return word
  }

  private mutating func take(_ symbol: String) -> Bool {
    guard next.kind == .symbol(symbol) else { return false }
    position += 1
    return true
  }

  private mutating func expect(_ symbol: String) throws(FilterError) {
    guard take(symbol) else { throw complaint("'\(symbol)' is expected") }
  }

  private func complaint(_ what: String) -> FilterError { FilterError("column \(next.column): \(what)") }
}
