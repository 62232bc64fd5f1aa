import Secrets
import Testing

@testable import PostgresWire

/// What SCRAM derives from for `password`.
private func prepared(_ password: [UInt8]) -> [UInt8] {
  password.withUnsafeBytes { SASLPrep.prepared($0) } ?? password
}

struct SASLPrepTests {
  /// RFC 4013 section 3, but for the refusals, where PostgreSQL takes the bytes as they are.
  @Test(arguments: [
    ("I\u{ad}X", "IX"), ("user", "user"), ("USER", "USER"), ("\u{aa}", "a"), ("\u{2168}", "IX"), ("\u{7}", "\u{7}"),
    ("\u{627}1", "\u{627}1"),
  ])
  func examplesOfTheRFC(password: String, result: String) {
    #expect(prepared(Array(password.utf8)) == Array(result.utf8))
  }

  @Test(arguments: [
    // Mapped to a space, mapped to nothing, composed.
    ("pass\u{a0}word\u{3000}", "pass word "), ("\u{200b}x\u{feff}\u{200d}", " x"), ("e\u{301}", "\u{e9}"),
    ("\u{fb01}n\u{2460}", "fin1"), ("\u{1d400}", "A"), ("\u{e9}", "\u{e9}"),
    // Nothing would be left.
    ("\u{ad}\u{200c}", "\u{ad}\u{200c}"),
    // Prohibited: a control, a private one, a tag, a deprecated one.
    ("\u{2168}\u{85}", "\u{2168}\u{85}"), ("\u{2168}\u{e000}", "\u{2168}\u{e000}"),
    ("\u{2168}\u{e0041}", "\u{2168}\u{e0041}"),
    ("\u{2168}\u{fffd}", "\u{2168}\u{fffd}"), ("\u{2168}\u{340}", "\u{2168}\u{340}"),
    ("\u{2168}\u{10ffff}", "\u{2168}\u{10ffff}"), ("\u{2168}\u{7}", "\u{2168}\u{7}"),
    // Not in Unicode 3.2: U+0221 came with 4.0, the rocket with 6.0; U+0220 was the last of its block then.
    ("\u{2168}\u{221}", "\u{2168}\u{221}"), ("\u{2168}\u{1f680}", "\u{2168}\u{1f680}"),
    ("\u{2168}\u{220}", "IX\u{220}"),
    // Both directions: right to left from end to end, digits within; not with letters of the other direction.
    ("\u{627}1\u{fe8f}", "\u{627}1\u{628}"), ("\u{5d0}\u{2168}\u{5d0}", "\u{5d0}\u{2168}\u{5d0}"),
    ("\u{fe8f}1", "\u{fe8f}1"), ("1\u{fe8f}", "1\u{fe8f}"), ("\u{fe8f}a\u{fe8f}", "\u{fe8f}a\u{fe8f}"),
  ])
  func asPostgresDoesIt(password: String, result: String) {
    #expect(prepared(Array(password.utf8)) == Array(result.utf8))
  }

  @Test(arguments: [[0xe2, 0x85], [0xff, 0x41], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0xad]] as [[UInt8]])
  func bytesThatAreNotUTF8StayAsTheyAre(password: [UInt8]) {
    #expect(prepared([0xe2, 0x85, 0xa8] + password) == [0xe2, 0x85, 0xa8] + password)
  }

  @Test func asciiTakesTheShortWay() {
    let all = Array(0x00...0x7f) as [UInt8]
    #expect(all.withUnsafeBytes { SASLPrep.prepared($0) } == nil)
  }

  @Test func equivalentPasswordsGiveTheSameKeys() throws {
    func key(_ password: String) throws -> [UInt8] {
      try ScramDerivation(password: Secret(utf8: password), salt: [1, 2, 3], iterations: 4096).run()
        .serverKey.withBytes { Array($0) }
    }
    #expect(try key("I\u{ad}X") == key("IX"))
    #expect(try key("I\u{ad}X") == key("\u{2168}"))
    #expect(try key("IX") != key("ix"))
  }
}
