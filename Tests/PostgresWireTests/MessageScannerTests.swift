import TestSupport
import Testing

@testable import PostgresWire

/// The obviously right way: collect everything, cut off whole messages.
private struct SlowScanner {
  let known: Set<UInt8>
  let small: Set<UInt8>
  let smallLimit: UInt32
  var buffer: [UInt8] = []
  var messages = 0
  var isBroken = false

  mutating func feed(_ bytes: ArraySlice<UInt8>) {
    buffer += bytes
    while buffer.count >= 5, !isBroken {
      let length = buffer[1...4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      let limit = small.contains(buffer[0]) ? smallLimit : 0x3fff_fffe
      let isReady = buffer[0] == UInt8(ascii: "Z")
      guard known.contains(buffer[0]), length >= 4, length <= limit, !isReady || length == 5 else {
        isBroken = true
        return
      }
      guard buffer.count >= Int(length) + 1 else { return }
      buffer.removeFirst(Int(length) + 1)
      messages += 1
    }
  }
}

struct MessageScannerTests {
  @Test func agreesWithTheSlowModelOnRandomStreamsCutAnywhere() {
    var random = SeededGenerator(seed: 7)
    let known = Set("DdTtENAVZCS123nsIcGHW".utf8)
    let small = Set("ZCS123nsIcGHW".utf8)
    let types = Array(known).sorted()
    var broken = 0
    for _ in 0..<100_000 {
      var stream: [UInt8] = []
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let isBad = Int.random(in: 0..<20, using: &random) == 0
        let body = Int.random(in: 0...12, using: &random)
        stream.append(
          isBad
            ? UInt8.random(in: .min ... .max, using: &random) : types[Int.random(in: 0..<types.count, using: &random)])
        stream.append(uint32: isBad ? UInt32.random(in: .min ... .max, using: &random) : UInt32(body + 4))
        stream += [UInt8](repeating: 0x44, count: body)
      }
      var slow = SlowScanner(known: known, small: small, smallLimit: 65_536)
      var fast = MessageScanner(side: .backend)
      var fastBroke = false
      var position = 0
      var delivered = 0
      var wholeMessages = 0
      while position < stream.count {
        let end = min(stream.count, position + Int.random(in: 1...9, using: &random))
        slow.feed(stream[position..<end])
        do {
          _ = try Array(stream[position..<end]).withUnsafeBytes { try fast.scan($0) }
          delivered = end
        } catch {
          fastBroke = true
          delivered = position + fast.acceptedPrefix
        }
        wholeMessages = stream.count - slow.buffer.count - (stream.count - end)
        position = end
        guard fastBroke == slow.isBroken else { return #expect(fastBroke == slow.isBroken) }
        if fastBroke {
          // Either exactly the whole messages were let through, or an earlier chunk cut the bad header.
          guard fast.isAtMessageBoundary == (delivered == wholeMessages), (0..<5).contains(delivered - wholeMessages)
          else {
            return #expect((delivered, fast.isAtMessageBoundary) == (wholeMessages, true))
          }
          break
        }
        guard fast.isAtMessageBoundary == slow.buffer.isEmpty else {
          return #expect(fast.isAtMessageBoundary == slow.buffer.isEmpty)
        }
      }
      broken += fastBroke ? 1 : 0
    }
    // Both kinds of streams were met.
    #expect(broken > 1000)
    #expect(broken < 90_000)
  }

  @Test func nothingBehindTerminateIsToBeRelayed() throws {
    let query: [UInt8] = [0x51, 0, 0, 0, 6, 0x61, 0]
    let stream = query + [0x58, 0, 0, 0, 4] + query
    for cut in 1..<stream.count {
      var scanner = MessageScanner(side: .frontend)
      var end: Int?
      let first = try Array(stream[..<cut]).withUnsafeBytes { try scanner.scan($0) }
      if let found = first.terminateEnd {
        end = found
      } else {
        let second = try Array(stream[cut...]).withUnsafeBytes { try scanner.scan($0) }
        end = second.terminateEnd.map { $0 + cut }
      }
      #expect(end == query.count + 5)
    }
  }

  @Test func cyclesAndStatusAreKnownWhereverTheStreamIsCut() throws {
    let parameter: [UInt8] = [0x53, 0, 0, 0, 8, 0x61, 0, 0x5a, 0]
    let ready = { (status: String) in [0x5a, 0, 0, 0, 5] + Array(status.utf8) }
    let answers = ready("T") + parameter + ready("I") + parameter
    for cut in 1..<answers.count {
      var scanner = MessageScanner(side: .backend)
      _ = try Array(answers[..<cut]).withUnsafeBytes { try scanner.scan($0) }
      #expect(scanner.transactionStatus == (cut < 6 ? nil : UInt8(ascii: cut < 21 ? "T" : "I")))
      _ = try Array(answers[cut...]).withUnsafeBytes { try scanner.scan($0) }
      #expect(scanner.cycles == 2)
      #expect(scanner.transactionStatus == UInt8(ascii: "I"))
    }
    var client = MessageScanner(side: .frontend)
    let requests: [UInt8] = Array("PBESQFdc".utf8).flatMap { [$0, 0, 0, 0, 5, 0] }
    _ = try requests.withUnsafeBytes { try client.scan($0) }
    #expect(client.cycles == 3)
  }

  @Test(arguments: [0, 3, 0x3fff_ffff, 0x4000_0000, 0xffff_ffff] as [UInt32])
  func impossibleLengthsAreViolations(length: UInt32) {
    var bytes: [UInt8] = [0x51]
    bytes.append(uint32: length)
    var scanner = MessageScanner(side: .frontend)
    #expect(throws: WireError.self) { try bytes.withUnsafeBytes { try scanner.scan($0) } }
  }

  @Test func aGigabyteQueryNeedsNoMemory() throws {
    var scanner = MessageScanner(side: .frontend)
    var header: [UInt8] = [0x51]
    header.append(uint32: 0x3fff_fffe)
    _ = try header.withUnsafeBytes { try scanner.scan($0) }
    let chunk = [UInt8](repeating: 0, count: 1 << 20)
    for _ in 0..<1023 { _ = try chunk.withUnsafeBytes { try scanner.scan($0) } }
    #expect(!scanner.isAtMessageBoundary)
    _ = try chunk.dropLast(6).withUnsafeBytes { try scanner.scan($0) }
    #expect(scanner.isAtMessageBoundary)
  }

  @Test func repliesOfTheServerAreReadWithoutTrust() {
    #expect(ErrorResponse(body: []).message == nil)
    #expect(ErrorResponse(body: Array("SFATAL\0C28P01\0Mno\0Mlater\0".utf8)).message == "no")
    #expect(ErrorResponse(body: Array("Mno end".utf8)).message == "no end")
    #expect(ErrorResponse(body: Array("Ma\u{1b}[2Jb\0\0".utf8)).message == "a\u{fffd}[2Jb")
  }
}
