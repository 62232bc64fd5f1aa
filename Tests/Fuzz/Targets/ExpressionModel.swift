@testable import AccessControl

/// Regular expressions again, straight from what they mean: for a node and a place of the text, the places where what the
/// node matches may end.
struct ExpressionModel {
  private let text: [Unicode.Scalar]
  private let root: RegularExpressionNode

  private static let maximumWork = 200

  /// `nil` for an expression or a text on which this would take long.
  init?(_ root: RegularExpressionNode, _ subject: String) {
    text = Array(subject.unicodeScalars)
    self.root = root
    guard text.count <= 24, Self.cost(root) <= Self.maximumWork else { return nil }
  }

  /// Whether all of the text matches.
  var matches: Bool { ends(root, from: [0]).contains(text.count) }

  private static func cost(_ node: RegularExpressionNode) -> Int {
    switch node {
    case .scalar, .assertion: 1
    case .sequence(let nodes), .choice(let nodes): nodes.reduce(1) { min(1_000, $0 + cost($1)) }
    case .repetition(let node, let least, let most):
      min(1_000, 1 + cost(node) * max(least, most ?? least, 1))
    }
  }

  private func ends(_ node: RegularExpressionNode, from starts: Set<Int>) -> Set<Int> {
    switch node {
    case .scalar(let set): return Set(starts.filter { $0 < text.count && isIn(set, text[$0]) }.map { $0 + 1 })
    case .assertion(let assertion): return starts.filter { holds(assertion, $0) }
    case .sequence(let nodes): return nodes.reduce(starts) { ends($1, from: $0) }
    case .choice(let nodes): return nodes.reduce(into: []) { $0.formUnion(ends($1, from: starts)) }
    case .repetition(let node, let least, let most):
      var current = starts
      for _ in 0..<least { current = ends(node, from: current) }
      var all = current
      // Without a bound: until nothing new comes.
      for _ in least..<(most ?? least + text.count + 1) {
        current = ends(node, from: current)
        all.formUnion(current)
      }
      return all
    }
  }

  private func isIn(_ set: ScalarSet, _ scalar: Unicode.Scalar) -> Bool {
    set.ranges.contains { $0.lowerBound <= scalar.value && scalar.value <= $0.upperBound }
  }

  private func holds(_ assertion: RegularExpression.Assertion, _ place: Int) -> Bool {
    func isWord(_ index: Int) -> Bool {
      guard index >= 0, index < text.count else { return false }
      return text[index].isASCII
        && (text[index].properties.isAlphabetic || "0123456789_".unicodeScalars.contains(text[index]))
    }
    return switch assertion {
    case .textStart: place == 0
    case .textEnd: place == text.count
    case .wordBoundary: isWord(place - 1) != isWord(place)
    case .noWordBoundary: isWord(place - 1) == isWord(place)
    }
  }
}
