import TestSupport
import Testing

@testable import AccessControl

struct RegularExpressionTests {
  private func matches(_ pattern: String, _ subject: String) throws -> Bool {
    try RegularExpression(pattern).matchesWhole(subject)
  }

  @Test func syntax() throws {
    for (pattern, subject, expected) in [
      ("", "", true), ("", "a", false), ("a|b", "b", true), ("a|", "", true), ("(a|bc)+d", "abcad", true),
      ("a{2,3}", "a", false), ("a{2,3}", "aaa", true), ("a{2,3}", "aaaa", false), ("a{2}", "aa", true),
      ("a{2,}", "aaaaa", true), ("a{2,}", "a", false), ("a{0}", "", true), ("(?:ab)?c", "abc", true),
      ("(?P<name>a)", "a", true), ("(?<name>a)", "a", true), ("a+?b*?", "aab", true), ("[a-c-]+", "a-c", true),
      ("[]a]+", "]a", true), ("[^]a]", "b", true), ("[^]a]", "]", false), ("[\\d_]+", "1_2", true),
      ("[^\\W]", "a", true), ("[\\W]", "a", false), ("\\w\\d\\s", "a1 ", true), ("\\W\\D\\S", " ab", true),
      ("\\.\\*\\\\", ".*\\", true), ("\\d", "\u{0661}", false), ("\\w", "\u{e9}", false), (".", "\u{1f600}", true),
      (".", "\n", false), ("^a$", "a", true), ("a^b", "ab", false), ("\\Aab\\z", "ab", true),
      ("a\\b.b", "a-b", true), ("a\\b.b", "axb", false), ("a\\Bb", "ab", true), ("[.]", "x", false),
      ("[\\d-z]+", "1-z", true), ("[\\d-z]", "a", false),
      ("team-(a|b)-[0-9]{1,3}", "team-b-042", true), ("a]", "a]", true), ("a}", "a}", true),
    ] {
      #expect(try matches(pattern, subject) == expected, "\(pattern) \(subject)")
    }
  }

  @Test(arguments: [
    "(", ")", "a)", "(a", "[", "[a", "[b-a]", "*", "a**", "a{2}{3}", "a{", "a{,3}", "a{3,2}", "a{1001}",
    "a|*",
    "\\", "\\1", "\\p{L}", "\\x41", "(?=a)", "(?!a)", "(?i)a", "(?P<>a)", "[[:alpha:]]", "((a{100}){100})",
    "(()*){1000}x{1000}{2}",
    "((((){1000}){1000}){1000})", "a{99999999999999999999}",
  ])
  func notExpressions(pattern: String) {
    #expect(throws: RegularExpressionError.self) { try RegularExpression(pattern) }
  }

  @Test func nestingIsBounded() {
    let deep = String(repeating: "(", count: 500) + String(repeating: ")", count: 500)
    #expect(throws: RegularExpressionError.self) { try RegularExpression(deep) }
  }

  /// Where a matcher that backtracks takes 2ⁿ steps, or n², this one takes some for each scalar.
  @Test(arguments: ["(a+)+", "(a|a)*", "(a*)*b", "(a|aa)+b", "(.*)(.*)(.*)(.*)(.*)x", "(a?){30}a{30}", "((a+)+)+!"])
  func stepsGrowWithTheSubjectOnly(pattern: String) throws {
    let expression = try RegularExpression(pattern)
    func steps(_ length: Int) -> Int {
      var steps = 0
      _ = expression.matchesWhole(String(repeating: "a", count: length) + "!", steps: &steps)
      return steps
    }
    let (short, long) = (steps(200), steps(2000))
    #expect(long <= 11 * short)
    #expect(long <= 2001 * 2 * 150)
  }

  @Test func agreesWithAnotherMatcherOnRandomExpressions() throws {
    var random = SeededGenerator(seed: 7)
    func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }
    func pick(_ items: [String]) -> String { items[number(0...items.count - 1)] }
    func expression(_ depth: Int) -> String {
      switch number(0...(depth > 0 ? 9 : 4)) {
      case 0...2: return pick(["a", "b", "c", "-", "\\."])
      case 3: return pick([".", "[ab]", "[^a]", "[a-c]", "\\d", "\\w", "\\S", "[^b-c1]", "\\W", "[\\d-]"])
      case 4: return pick(["a", "1", "ab"])
      case 5, 6: return expression(depth - 1) + expression(depth - 1)
      case 7: return "(?:" + expression(depth - 1) + "|" + expression(depth - 1) + ")"
      default:
        return "(" + expression(depth - 1) + ")" + pick(["*", "+", "?", "{2}", "{1,2}", "{0,1}", "{1,}", "*?", "+?"])
      }
    }
    var (matching, compared) = (0, 0)
    let tries = repetitions("SALLYPORT_EXPRESSIONS", usually: 50_000)
    while compared < tries {
      let pattern = expression(4)
      // Without word boundaries, which Swift's takes to be true at the ends of the text.
      let other = try Regex(pattern).asciiOnlyWordCharacters().asciiOnlyDigits().asciiOnlyWhitespace()
        .matchingSemantics(.unicodeScalar)
      let own = try RegularExpression(pattern)
      for _ in 0..<5 {
        let subject = (0..<number(0...6)).map { _ in pick(["a", "b", "c", "1", "-", ".", " "]) }.joined()
        let expected = try other.wholeMatch(in: subject) != nil
        guard own.matchesWhole(subject) == expected else {
          return #expect(Bool(false), "'\(pattern)' and '\(subject)': expected \(expected)")
        }
        matching += expected ? 1 : 0
        compared += 1
      }
    }
    #expect(matching > tries / 100)
  }
}
