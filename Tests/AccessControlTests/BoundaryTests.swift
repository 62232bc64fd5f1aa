import Foundation
import TestSupport
import Testing

@testable import AccessControl

/// Limits and character classes, on both sides of where they change.
struct BoundaryTests {
  private func isExpression(_ text: String) -> Bool { (try? RegularExpression(text)) != nil }

  private func text(_ count: Int) -> String { String(repeating: "a", count: count) }

  @Test func expressionsHaveASize() {
    // One instruction a letter, and one that accepts.
    #expect(isExpression(text(2047)))
    #expect(!isExpression(text(2048)))
    #expect(isExpression("a{1000}"))
    #expect(!isExpression("a{0,1001}"))
    #expect(isExpression("a{0,1000}"))
    #expect(isExpression("a{1000,}"))
    #expect(isExpression("a{3,3}"))
    #expect(!isExpression("a{3,2}"))
    // Repetitions of nothing take time alone: 16 × 2048 steps of it.
    #expect(isExpression("(){1000}"))
    // Two letters, a fork before the first and a jump behind it.
    #expect(isExpression("(a|b){511}"))
    #expect(!isExpression("(a|b){512}"))
    #expect(isExpression("((){1000}){32}"))
    #expect(!isExpression("((){1000}){33}"))
  }

  @Test func expressionsHaveADepth() {
    func nested(_ depth: Int) -> String {
      String(repeating: "(", count: depth) + String(repeating: ")", count: depth)
    }
    #expect(isExpression(nested(63)))
    #expect(!isExpression(nested(64)))
    // Side by side is not deep.
    #expect(isExpression(String(repeating: "()", count: 200)))
  }

  @Test func stepsAreCounted() throws {
    func steps(_ pattern: String, _ subject: String) throws -> Int {
      var steps = 0
      _ = try RegularExpression(pattern).matchesWhole(subject, steps: &steps)
      return steps
    }
    // Each instruction as it is reached, and each that waits for a letter as it sees one.
    #expect(try steps("ab", "ab") == 5)
    #expect(try steps("a*", "aa") == 18)
    #expect(try steps("b", "aaaa") == 2)
  }

  @Test func aLargeClassIsLookedUpInFewSteps() throws {
    let letters = (0x4e00..<0x5200).compactMap { Unicode.Scalar($0) }
    let mixed = letters.enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
    let set = ScalarSet(ranges: mixed.map { $0.value...$0.value } + [0x61...0x63, 0x62...0x64, 0x62...0x62])
    #expect(set.ranges.first == 0x61...0x64)
    #expect(set.ranges.count == mixed.count + 1)
    #expect(zip(set.ranges, set.ranges.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
    let others = set.negated
    let isRight = letters.enumerated().allSatisfy { offset, letter in
      set.contains(letter) == (offset % 2 == 0) && others.contains(letter) != set.contains(letter)
    }
    #expect(isRight)
    #expect(others.negated.ranges == set.ranges)
    #expect(ScalarSet(ranges: [1...3, 3...5, 7...8]).ranges == [1...5, 7...8])
    #expect(ScalarSet(ranges: [0...0x10_fffe]).negated.ranges == [0x10_ffff...0x10_ffff])
    #expect(ScalarSet(ranges: []).negated.ranges == [0...0x10_ffff])
    #expect(ScalarSet(ranges: [0...0x10_ffff]).negated.ranges.isEmpty)
    #expect(ScalarSet(ranges: [0...5, 0x10_fffe...0x10_ffff]).negated.ranges == [6...0x10_fffd])
  }

  @Test(arguments: [
    ("\\d", "0123456789", "/:a"), ("\\w", "09AZ_az", "/:@[`{^"), ("\\s", "\t\n\u{0c}\r ", "\u{08}\u{0b}\u{0e}!\u{1f}"),
  ])
  func classesHaveEnds(pattern: String, inside: String, outside: String) throws {
    let expression = try RegularExpression(pattern)
    let opposite = try RegularExpression(pattern.uppercased())
    for (scalars, isInside) in [(inside.unicodeScalars, true), (outside.unicodeScalars, false)] {
      for scalar in scalars {
        #expect(expression.matchesWhole(String(scalar)) == isInside, "\(scalar.value)")
        #expect(opposite.matchesWhole(String(scalar)) != isInside, "\(scalar.value)")
      }
    }
  }

  @Test(arguments: [
    ("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t"), ("\\f", "\u{0c}"), ("\\v", "\u{0b}"), ("\\_", "_"), ("\\-", "-"),
  ])
  func signs(pattern: String, subject: String) throws {
    #expect(try RegularExpression(pattern).matchesWhole(subject))
    #expect(try !RegularExpression(pattern).matchesWhole("n"))
  }

  @Test func wordBoundariesAtTheEnds() throws {
    for (pattern, subject, expected) in [
      ("\\ba\\b", "a", true), ("\\Ba", "a", false), ("a\\B", "a", false), ("\\B", "", true), ("\\b", "", false),
      ("\\B-\\B", "-", true), ("\\b-", "-", false), ("a\\bb", "ab", false), ("(^|x)a", "a", true),
      ("a($|x)", "a", true),
      ("x^", "x", false), ("$x", "x", false), ("a(|b)c", "ac", true), ("(a|b|c)", "c", true), ("(a|b|)", "", true),
      ("[a-a]", "a", true), ("[a-a]", "b", false),
    ] {
      #expect(try RegularExpression(pattern).matchesWhole(subject) == expected, "\(pattern) \(subject)")
    }
  }

  private func matches(_ pattern: String, _ subject: String) -> Bool {
    Matching(traits: ["t": ["a*"]]).first(of: [pattern], matching: [subject]) != nil
  }

  @Test func patternsAndSubjectsHaveALength() {
    #expect((try? Pattern(text(1024))) != nil)
    #expect(throws: RoleError.self) { try Pattern(text(1025)) }
    #expect(matches("*", text(4096)))
    #expect(!matches("*", text(4097)))
    #expect(matches("^a*$", text(4096)))
    #expect(!matches("{{internal.t}}", text(4097)))
  }

  @Test func templatesAreSpelledExactly() {
    for (entry, name) in [
      ("{{internal.t}}", "t"), ("{{external.t}}", "t"), ("{{ internal.t }}", "t"), ("{{internal.a-b_c}}", "a-b_c"),
      ("{{other.t}}", nil), ("{{internal.t", nil), ("internal.t}}", nil), ("{{internal.t u}}", nil),
      ("{{internal.}}", nil),
      ("{{}}", nil), ("{{internal.-}}", nil), ("x{{internal.t}}", nil), ("{{internal.t}}x", nil),
      ("{{t.internal.}}", nil),
    ] as [(String, String?)] {
      #expect(Pattern.traitName(entry) == name, "\(entry)")
      if name == nil, entry.contains("{{") { #expect(throws: RoleError.self) { try Pattern(entry) } }
    }
    #expect(matches("{{internal.t}}", "abc"))
    #expect(!matches("{{internal.t}}", "bc"))
  }

  @Test func onlyWhatBeginsAndEndsSoIsAnExpression() {
    #expect(matches("^a.$", "ab"))
    #expect(!matches("^a.", "ab"))
    #expect(matches("^a.", "^a."))
    #expect(!matches("a.$", "ab"))
    #expect(matches("a.$", "a.$"))
  }

  @Test func globs() {
    for (pattern, subject, expected) in [
      ("", "", true), ("", "a", false), ("a", "", false), ("*", "", true), ("**", "abc", true), ("a*", "a", true),
      ("*a", "a", true), ("*a", "ab", false), ("a*b*c", "aXbYc", true), ("a*b*c", "acb", false), ("*ab", "aab", true),
      ("*aab", "aaab", true), ("a*a*a", "aa", false), ("a*a*a", "aaa", true), ("ab*", "a", false), ("*b", "a", false),
    ] {
      #expect(matches(pattern, subject) == expected, "\(pattern) \(subject)")
    }
  }

  @Test func names() {
    for name in ["a", "Z", "0", "9", "a.b", "a_b", "a@b", "a+b", "a-b", "az", "AZ", "a09", "a."] {
      #expect(Role.isValidName(name), "\(name)")
    }
    for name in [
      "", ".a", "-a", "_a", "@a", "+a", "a..b", "a/b", "a:b", "a[b", "a`b", "a{b", "a b", "a\u{e9}", "a\n", "a,b",
    ] {
      #expect(!Role.isValidName(name), "\(name)")
    }
    #expect(Role.isValidName(text(255)))
    #expect(!Role.isValidName(text(256)))
  }

  @Test func durationsHaveUnitsAndAnEnd() {
    for (written, seconds) in [
      ("0", 0), ("1s", 1), ("1m", 60), ("1h", 3600), ("1d", 86_400), ("1000ms", 1), ("999ms", 0), ("1.5m", 90),
      (".5m", 30),
      ("1h1m1s", 3661), ("3162239999s", 3_162_239_999), ("2h0m0s", 7200),
    ] {
      #expect(GoDuration(written)?.seconds == seconds, "\(written)")
    }
    for written in ["3162240000s", "1h1", "1..5h", ".h", "1H", "never1s", "1us", "\u{0661}h", "1h-1m", " 1h"] {
      #expect(GoDuration(written) == nil, "\(written)")
    }
    #expect(GoDuration(seconds: 3661).description == "1h1m1s")
    #expect(GoDuration(seconds: 7199).description == "1h59m59s")
    #expect(GoDuration(seconds: 59).description == "0h0m59s")
    #expect(GoDuration(seconds: 100 * 3600).description == "100h0m0s")
  }
}

struct SpellingTests {
  /// Levenshtein's distance by its definition.
  private func distance(_ a: Substring, _ b: Substring) -> Int {
    guard let x = a.first, let y = b.first else { return a.count + b.count }
    if x == y { return distance(a.dropFirst(), b.dropFirst()) }
    return 1
      + min(
        distance(a.dropFirst(), b), distance(a, b.dropFirst()), distance(a.dropFirst(), b.dropFirst()))
  }

  @Test func theNearestIsSuggested() {
    var random = SeededGenerator(seed: 3)
    func word() -> String {
      String(
        (0..<Int.random(in: 0...5, using: &random)).map { _ in ["a", "b", "c"].randomElement(using: &random) ?? "a" })
    }
    for _ in 0..<1_000 {
      let (wanted, known) = (word(), [word(), word(), word()])
      let nearest = Spelling.nearest(to: wanted, among: known) ?? ""
      let distances = known.map { distance($0[...], wanted[...]) }
      #expect(distance(nearest[...], wanted[...]) == distances.min(), "\(wanted) \(known) \(nearest)")
    }
    #expect(Spelling.nearest(to: "a", among: []) == nil)
  }

  @Test func longWordsAreComparedByTheirBeginning() {
    let long = String(repeating: "a", count: 64)
    // Beyond 64 bytes nothing is looked at: both are as near, and the first counts.
    #expect(Spelling.nearest(to: long + "x", among: [long + "y", long + "x"]) == long + "y")
    #expect(Spelling.nearest(to: long, among: [long + "x", long]) == long + "x")
    let shorter = String(long.dropLast())
    #expect(Spelling.nearest(to: long + "x", among: [shorter + "x", long]) == long)
    #expect(Spelling.nearest(to: shorter + "x", among: [shorter + "y", shorter + "x"]) == shorter + "x")
  }
}
