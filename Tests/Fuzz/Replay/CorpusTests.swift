import Foundation
import TestSupport
import Testing

/// Every input in the repository, seeds and what was once found, goes through its target; so do spoiled copies of it.
struct CorpusTests {
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Corpus")

  private func inputs(_ name: String) throws -> [(name: String, bytes: [UInt8])] {
    let folder = Self.folder.appendingPathComponent(name)
    return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map {
      ($0, Array(try Data(contentsOf: folder.appendingPathComponent($0))))
    }
  }

  private func target(_ name: String) throws -> FuzzTarget {
    try #require(FuzzTarget.all.first { $0.name == name })
  }

  @Test(arguments: FuzzTarget.all.map(\.name)) func everyInputReadsAsItsModelDoes(name: String) throws {
    let target = try target(name)
    let inputs = try inputs(name)
    #expect(!inputs.isEmpty)
    for input in inputs {
      #expect(input.bytes.count <= target.maximumLength, "\(input.name) is longer than the fuzzer's inputs")
      #expect(throws: Never.self, "\(input.name)") { try input.bytes.withUnsafeBytes(target.run) }
      for length in 0..<min(input.bytes.count, 200) {
        #expect(throws: Never.self, "\(input.name), its first \(length) bytes") {
          try input.bytes.prefix(length).withUnsafeBytes(target.run)
        }
      }
    }
  }

  /// A short bounded fuzzing of its own, the same in every run: `make fuzz` is the long one.
  @Test(arguments: FuzzTarget.all.map(\.name)) func spoiledInputsReadAsTheirModelDoes(name: String) throws {
    let target = try target(name)
    let inputs = try inputs(name).map(\.bytes)
    var random = SeededGenerator(seed: 62)
    let end = ContinuousClock.now + .seconds(2)
    for _ in 0..<3000 where ContinuousClock.now < end {
      var bytes = inputs[Int.random(in: 0..<inputs.count, using: &random)]
      for _ in 0..<Int.random(in: 1...4, using: &random) { spoil(&bytes, inputs, &random) }
      bytes = Array(bytes.prefix(target.maximumLength))
      do {
        try bytes.withUnsafeBytes(target.run)
      } catch {
        return #expect(Bool(false), "\(error): \(Data(bytes).base64EncodedString())")
      }
    }
  }

  private func spoil(_ bytes: inout [UInt8], _ inputs: [[UInt8]], _ random: inout SeededGenerator) {
    guard !bytes.isEmpty else { return bytes.append(UInt8.random(in: .min ... .max, using: &random)) }
    let place = Int.random(in: 0..<bytes.count, using: &random)
    switch Int.random(in: 0..<6, using: &random) {
    case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 1: bytes[place] = [0, 1, 4, 5, 0x7f, 0x80, 0xff].randomElement(using: &random) ?? 0
    case 2: bytes.remove(at: place)
    case 3: bytes.insert(UInt8.random(in: .min ... .max, using: &random), at: place)
    case 4: bytes.replaceSubrange(place..., with: bytes[..<place])
    default:
      // The end of another input.
      let other = inputs[Int.random(in: 0..<inputs.count, using: &random)]
      bytes.replaceSubrange(place..., with: other.suffix(Int.random(in: 0...other.count, using: &random)))
    }
  }
}
