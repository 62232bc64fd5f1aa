import PostgresWire
import TestSupport
import Testing

@testable import TunnelWire

private let session = SessionToken(high: 0x0102_0304_0506_0708, low: .max)

private let samples: [TunnelMessage] = [
  .welcome(reactor: 3, reactorCount: 4),
  .serves(databases: []),
  .serves(databases: ["redshift", "größe", ""]),
  .heartbeat(sessions: .max, isDraining: true),
  .heartbeat(sessions: 0, isDraining: false),
  .alive,
  .taken,
  .want(reactor: 1, count: 70_000),
  .cancel(session: session),
  .open(
    OpenRequest(
      session: session, certificate: [0x30, 0, 0xff], clientAddress: "2001:db8::1",
      startup: Array(repeating: 7, count: 99))),
  .ready(parameterStatus: Array("S....".utf8), transactionStatus: UInt8(ascii: "I")),
  .refused(WireError(.invalidAuthorization, "access denied", detail: "no role", hint: "ask")),
  .refused(WireError(.cannotConnect, "unreachable")),
  .caller(certificate: [], address: "127.0.0.1"),
]

private func read(_ bytes: [UInt8], by size: Int) throws -> [TunnelMessage] {
  var reader = TunnelReader()
  var messages: [TunnelMessage] = []
  for start in stride(from: 0, to: bytes.count, by: size) {
    bytes[start..<min(start + size, bytes.count)].withUnsafeBytes { reader.append($0) }
    while let message = try reader.next() { messages.append(message) }
  }
  #expect(reader.takeRest().isEmpty)
  return messages
}

private func decode(_ body: [UInt8]) -> TunnelMessage? { body.withUnsafeBytes { TunnelMessage($0) } }

@Suite("What crosses a tunnel")
struct TunnelMessageTests {
  @Test(arguments: samples)
  func messagesCrossUnchanged(_ message: TunnelMessage) throws {
    #expect(try read(message.encoded(), by: .max / 2) == [message])
  }

  @Test(arguments: [1, 2, 3, 5, 64, 1000])
  func piecesOfAnySizeGiveTheSameMessages(_ size: Int) throws {
    #expect(try read(samples.flatMap { $0.encoded() }, by: size) == samples)
  }

  @Test(arguments: samples)
  func aMessageCutShortOrWithMoreBehindIsNone(_ message: TunnelMessage) {
    let body = Array(message.encoded().dropFirst(4))
    for end in 0..<body.count { #expect(decode(Array(body[..<end])) == nil, "cut at \(end)") }
    #expect(decode(body + [0]) == nil)
  }

  /// One that waits for its end is no message yet, nor an error.
  @Test(arguments: samples)
  func theReaderWaitsForTheWholeMessage(_ message: TunnelMessage) throws {
    let bytes = message.encoded()
    var reader = TunnelReader()
    for byte in bytes.dropLast() {
      [byte].withUnsafeBytes { reader.append($0) }
      #expect(try reader.next() == nil)
    }
    bytes.suffix(1).withUnsafeBytes { reader.append($0) }
    #expect(try reader.next() == message)
  }

  @Test func randomBytesNeverTrap() {
    var generator = SeededGenerator(seed: 11)
    var accepted = 0
    for _ in 0..<200_000 {
      let length = Int.random(in: 0...40, using: &generator)
      var body = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
      if !body.isEmpty { body[0] = UInt8.random(in: 0...13, using: &generator) }
      if decode(body) != nil { accepted += 1 }
    }
    // Some are messages by chance (`alive`, a `want`): the loop reaches past the first check.
    #expect(accepted > 0)
  }

  @Test(arguments: samples)
  func aFlippedByteGivesAnotherMessageOrNone(_ message: TunnelMessage) {
    let body = Array(message.encoded().dropFirst(4))
    for position in body.indices {
      for bit in 0..<8 {
        var changed = body
        changed[position] ^= 1 << bit
        if let other = decode(changed) { #expect(other != message) }
      }
    }
  }

  @Test(arguments: [0, UInt32(TunnelMessage.maximumLength) + 1, .max])
  func impossibleLengthsEndTheTunnelAtOnce(_ length: UInt32) {
    var reader = TunnelReader()
    var bytes: [UInt8] = []
    bytes.append(uint32: length)
    bytes.withUnsafeBytes { reader.append($0) }
    #expect(throws: WireError.self) { try reader.next() }
  }

  @Test func declaredCountsAreChecked() {
    var tooMany: [UInt8] = [2]
    tooMany.append(uint32: UInt32(TunnelMessage.maximumDatabases) + 1)
    #expect(decode(tooMany) == nil)
    var reactorBeyondCount: [UInt8] = [1]
    reactorBeyondCount.append(uint32: 4)
    reactorBeyondCount.append(uint32: 4)
    #expect(decode(reactorBeyondCount) == nil)
  }

  @Test func asManyDatabasesAsAHostMayServeFit() throws {
    let names = (0..<TunnelMessage.maximumDatabases).map { "\($0)-" + String(repeating: "n", count: 90) }
    #expect(try read(TunnelMessage.serves(databases: names).encoded(), by: 16_384) == [.serves(databases: names)])
  }

  @Test func longTextIsCutBetweenCharacters() throws {
    let error = WireError(.cannotConnect, "a" + String(repeating: "ü", count: 4000))
    guard case .refused(let read) = try read(TunnelMessage.refused(error).encoded(), by: 999).first else {
      Issue.record("not read")
      return
    }
    #expect(read.message == "a" + String(repeating: "ü", count: 2047))
  }

  @Test func bytesOfTheStreamBehindAMessageAreKept() throws {
    var reader = TunnelReader()
    (samples[0].encoded() + [1, 2, 3]).withUnsafeBytes { reader.append($0) }
    #expect(try reader.next() == samples[0])
    #expect(reader.takeRest() == [1, 2, 3])
    #expect(try reader.next() == nil)
  }

  @Test func theReaderSaysWhenItHoldsMoreThanAMessage() {
    var reader = TunnelReader()
    let half = [UInt8](repeating: 0, count: TunnelMessage.maximumLength / 2 + 3)
    half.withUnsafeBytes { reader.append($0) }
    #expect(!reader.isFull)
    half.withUnsafeBytes { reader.append($0) }
    #expect(reader.isFull)
  }
}
