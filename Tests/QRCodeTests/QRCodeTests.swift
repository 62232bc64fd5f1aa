import Foundation
import Testing

@testable import QRCode

@Suite struct QRCodeTests {
  /// Every version, read back by a decoder that is not ours.
  @Test func anIndependentDecoderReadsEveryVersion() throws {
    var texts = Version.all.map { version in
      // As long as this version takes, so that no smaller one is chosen.
      let length = (version.dataCodewords * 8 - 4 - version.countBits) / 8
      return String((0..<length).map { Character(UnicodeScalar(UInt8(33 + ($0 * 7 + version.number) % 90))) })
    }
    texts += ["a", "otpauth://totp/test:alice?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=test", "käse 🧀"]
    let codes = try texts.map { try #require(QRCode($0)) }
    #expect(codes.prefix(20).map(\.size) == Version.all.map(\.size))
    let blocks = codes.map { $0.halfBlocks(colors: false) }.joined(separator: "\n\n")
    let found = try decode(blocks)
    #expect(found.count == texts.count)
    for (text, symbols) in zip(texts, found) {
      #expect(symbols.count == 1)
      #expect(symbols.first?.dropFirst().map { $0 } == [text, "M"])
    }
  }

  @Test func whatIsTooLongIsNotEncoded() {
    #expect(QRCode(String(repeating: "x", count: 666)) != nil)
    #expect(QRCode(String(repeating: "x", count: 667)) == nil)
  }

  @Test func theVectorImageNeedsNoScriptAndNoStyle() throws {
    let svg = try #require(QRCode("hello")).svg()
    #expect(!svg.contains("style") && !svg.contains("script"))
    #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>"))
  }

  private func decode(_ blocks: String) throws -> [[[String]]] {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    let process = Process()
    // As a shell command: URL and Process follow the link, and so miss the virtual environment.
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    let python = folder.path + "/../../.venv/bin/python"
    let file = FileManager.default.temporaryDirectory.appending(path: "codes-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data(blocks.utf8).write(to: file)
    process.arguments = ["-c", "exec \"$0\" \"$@\"", python, folder.path + "/decode.py", file.path]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let data = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return try JSONDecoder().decode([[[String]]].self, from: data)
  }
}
