/// A regular expression matched in time linear in the subject, whatever the expression: roles are evaluated against
/// strings that clients choose, so no pattern may be able to hold a thread.
///
/// The syntax is the usual part of RE2's (github.com/google/re2/wiki/Syntax), with which roles are written: literals, `.`,
/// classes, `\d \w \s` (ASCII) and their opposites, groups, alternation, `* + ?` and `{m,n}`, anchors. What needs
/// backtracking (back references, lookaround) does not exist there either. Matching follows all alternatives at once
/// (Thompson 1968, as told in swtch.com/~rsc/regexp/regexp2.html), one Unicode scalar after the other.
struct RegularExpression: Sendable {
  /// Instructions a compiled expression may have; repetitions are unrolled, so `(a{1000}){1000}` is too large.
  static let maximumSize = 2048

  enum Instruction {
    case scalar(ScalarSet)
    /// Goes on in both places.
    case fork(Int, Int)
    case jump(Int)
    case assertion(Assertion)
    case accept
  }

  enum Assertion { case textStart, textEnd, wordBoundary, noWordBoundary }

  private let program: [Instruction]

  /// - Throws: `RegularExpressionError` if `text` is not of that syntax, or too large.
  init(_ text: some StringProtocol) throws {
    var parser = RegularExpressionParser(text)
    var compiler = Compiler()
    try compiler.emit(try parser.parse())
    try compiler.append(.accept)
    program = compiler.program
  }

  /// Whether all of `subject` matches.
  func matchesWhole(_ subject: String) -> Bool {
    var steps = 0
    return matchesWhole(subject, steps: &steps)
  }

  /// As above; `steps` grows by the instructions looked at: at most twice the size of the program a scalar.
  func matchesWhole(_ subject: String, steps: inout Int) -> Bool {
    let text = Array(subject.unicodeScalars)
    var current = States(count: program.count)
    var next = States(count: program.count)
    follow(0, at: 0, in: text, &current, &steps)
    for (index, scalar) in text.enumerated() {
      guard !current.members.isEmpty else { return false }
      next.removeAll()
      for state in current.members {
        steps += 1
        if case .scalar(let set) = program[state], set.contains(scalar) {
          follow(state + 1, at: index + 1, in: text, &next, &steps)
        }
      }
      swap(&current, &next)
    }
    return current.members.contains { if case .accept = program[$0] { true } else { false } }
  }

  /// Adds `start` and all that is reached from it without reading a scalar.
  private func follow(
    _ start: Int, at position: Int, in text: [Unicode.Scalar], _ states: inout States, _ steps: inout Int
  ) {
    states.pending.append(start)
    while let state = states.pending.popLast() {
      guard states.insert(state) else { continue }
      steps += 1
      switch program[state] {
      case .jump(let target): states.pending.append(target)
      case .fork(let first, let second):
        states.pending.append(second)
        states.pending.append(first)
      case .assertion(let assertion):
        if Self.holds(assertion, at: position, in: text) { states.pending.append(state + 1) }
      case .scalar, .accept: break
      }
    }
  }

  private static func holds(_ assertion: Assertion, at position: Int, in text: [Unicode.Scalar]) -> Bool {
    func isWord(_ index: Int) -> Bool { text.indices.contains(index) && ScalarSet.word.contains(text[index]) }
    switch assertion {
    case .textStart: return position == 0
    case .textEnd: return position == text.count
    case .wordBoundary: return isWord(position - 1) != isWord(position)
    case .noWordBoundary: return isWord(position - 1) == isWord(position)
    }
  }

  /// States that are alive: each once, in the order of their coming.
  private struct States {
    private(set) var members: [Int] = []
    /// Found, but not yet looked at.
    var pending: [Int] = []
    private var isMember: [Bool]

    init(count: Int) { isMember = Array(repeating: false, count: count) }

    mutating func insert(_ state: Int) -> Bool {
      guard !isMember[state] else { return false }
      isMember[state] = true
      members.append(state)
      return true
    }

    mutating func removeAll() {
      for state in members { isMember[state] = false }
      members.removeAll(keepingCapacity: true)
    }
  }

  /// Turns the tree of an expression into instructions.
  private struct Compiler {
    private(set) var program: [Instruction] = []
    private var work = 0

    @discardableResult
    mutating func append(_ instruction: Instruction) throws -> Int {
      guard program.count < maximumSize else { throw RegularExpressionError("is too large") }
      program.append(instruction)
      return program.count - 1
    }

    mutating func emit(_ node: RegularExpressionNode) throws {
      // Repetitions of nothing make no instruction: they are bounded by the work alone.
      work += 1
      guard work <= 16 * maximumSize else { throw RegularExpressionError("is too large") }
      switch node {
      case .scalar(let set): try append(.scalar(set))
      case .assertion(let assertion): try append(.assertion(assertion))
      case .sequence(let nodes): for node in nodes { try emit(node) }
      case .choice(let nodes): try emit(choice: nodes)
      case .repetition(let node, let least, let most):
        for _ in 0..<least { try emit(node) }
        guard let most else { return try emitLoop(node) }
        // (x(x(x)?)?)?: every fork leads to the end of them all.
        let forks = try (least..<most).map { _ in
          let fork = try append(.fork(0, 0))
          try emit(node)
          return fork
        }
        for fork in forks { program[fork] = .fork(fork + 1, program.count) }
      }
    }

    private mutating func emit(choice nodes: [RegularExpressionNode]) throws {
      var jumps: [Int] = []
      for node in nodes.dropLast() {
        let fork = try append(.fork(0, 0))
        try emit(node)
        jumps.append(try append(.jump(0)))
        program[fork] = .fork(fork + 1, program.count)
      }
      if let last = nodes.last { try emit(last) }
      for jump in jumps { program[jump] = .jump(program.count) }
    }

    private mutating func emitLoop(_ node: RegularExpressionNode) throws {
      let fork = try append(.fork(0, 0))
      try emit(node)
      try append(.jump(fork))
      program[fork] = .fork(fork + 1, program.count)
    }
  }
}

/// A text that is not a regular expression; the description goes on after "the expression".
struct RegularExpressionError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Some of all Unicode scalars.
///
/// Kept as ranges in order and apart from each other: looking one up takes few steps however many a class lists, since a
/// large class that is repeated a thousand times is looked up in as often.
struct ScalarSet: Sendable {
  let ranges: [ClosedRange<UInt32>]

  init(ranges: [ClosedRange<UInt32>]) {
    var merged: [ClosedRange<UInt32>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = merged.last, range.lowerBound <= last.upperBound {
        merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        merged.append(range)
      }
    }
    self.ranges = merged
  }

  static let digit = ScalarSet(ranges: [0x30...0x39])
  static let word = ScalarSet(ranges: [0x30...0x39, 0x41...0x5a, 0x5f...0x5f, 0x61...0x7a])
  static let space = ScalarSet(ranges: [0x09...0x0a, 0x0c...0x0d, 0x20...0x20])
  static let notNewline = only("\n").negated

  static func only(_ scalar: Unicode.Scalar) -> ScalarSet { ScalarSet(ranges: [scalar.value...scalar.value]) }

  /// All others.
  var negated: ScalarSet {
    var others: [ClosedRange<UInt32>] = []
    var next: UInt32 = 0
    for range in ranges {
      if range.lowerBound > next { others.append(next...range.lowerBound - 1) }
      next = range.upperBound + 1
    }
    if next <= Self.maximum { others.append(next...Self.maximum) }
    return ScalarSet(ranges: others)
  }

  private static let maximum: UInt32 = 0x10_ffff

  func contains(_ scalar: Unicode.Scalar) -> Bool {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < scalar.value { low = middle + 1 } else { high = middle }
    }
    return low < ranges.count && ranges[low].lowerBound <= scalar.value
  }
}
