import Foundation
import TestSupport
import Testing

@testable import Audit

private func encoded(_ bytes: [UInt8]) -> [UInt8] {
  var text = JSONText()
  bytes.withUnsafeBytes { text.string($0) }
  return text.bytes
}

private func decoded(_ bytes: [UInt8]) throws -> String {
  try JSONDecoder().decode(String.self, from: Data(encoded(bytes)))
}

struct JSONTextTests {
  @Test(arguments: [
    "plain", "\"quotes\" and \\ backslashes", "line\nends\r\n\ttabs", "\u{0}\u{1b}[31m\u{7f}", "é ü 中文 🦆 \u{10ffff}",
    "\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{200b}\u{feff}\u{e0041}", "}{\"event\":\"fake\"}\n",
  ])
  func textSurvives(_ text: String) throws {
    #expect(try decoded(Array(text.utf8)) == text)
  }

  @Test(
    arguments: [
      ([0xff], "\\xff"), ([0xc0, 0xaf], "\\xc0\\xaf"), ([0xed, 0xa0, 0x80], "\\xed\\xa0\\x80"),
      ([0xf5, 0x80, 0x80, 0x80], "\\xf5\\x80\\x80\\x80"), ([0x61, 0xe2, 0x80], "a\\xe2\\x80"),
      ([0xf4, 0x90, 0x80, 0x80], "\\xf4\\x90\\x80\\x80"), ([0xe0, 0x80, 0x80, 0x62], "\\xe0\\x80\\x80b"),
    ] as [([UInt8], String)])
  func otherBytesShowAsHex(_ bytes: [UInt8], _ shown: String) throws {
    #expect(try decoded(bytes) == shown)
  }

  @Test func anyBytesMakeOneLineOfValidJSON() throws {
    var random = SeededGenerator(seed: 19)
    for _ in 0..<20_000 {
      let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
        Bool.random(using: &random)
          ? UInt8.random(in: .min ... .max, using: &random) : UInt8.random(in: 0x20...0x7e, using: &random)
      }
      let line = encoded(bytes)
      #expect(!line.contains { $0 < 0x20 || $0 == 0x7f })
      let text = try #require(String(validating: line, as: UTF8.self))
      #expect(
        !text.unicodeScalars.contains {
          [.control, .lineSeparator, .paragraphSeparator].contains($0.properties.generalCategory)
        })
      let back = try decoded(bytes)
      if let valid = String(validating: bytes, as: UTF8.self) { #expect(back == valid) }
    }
  }

  @Test func numbers() {
    for number in [0, 7, -1, 1_234_567_890, .max, .min] {
      var text = JSONText()
      text.number(number)
      #expect(String(decoding: text.bytes, as: UTF8.self) == "\(number)")
    }
  }
}
