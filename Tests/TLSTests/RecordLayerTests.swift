import CPlatform
import Secrets
import Testing

@testable import TLS

/// The record layer alone, fed with records that no decent peer would send.
struct RecordLayerTests {
  /// A layer, and the key of a peer that writes to it whatever it likes.
  private final class Bench {
    var layer: RecordLayer
    var peer: RecordKey
    var sent: [UInt8] = []
    /// What both directions' first keys follow from.
    weak var secret: Secret?
    private var room: UnsafeMutableRawBufferPointer?

    init(suite id: UInt16 = 0x1301, isServer: Bool = false) throws {
      let suite = try #require(RecordSuite(id: id))
      let secret = Secret((0..<suite.digestCount).map { UInt8($0) })
      self.secret = secret
      let keys =
        suite.version == .tls13
        ? try #require(KeySchedule.keys(from: secret, suite))
        : try #require(KeySchedule.keys(master: secret, clientRandom: [1], serverRandom: [2], suite)).client
      func key(isSealing: Bool) -> RecordKey? {
        RecordKey(keys, suite: suite, sequence: 0, explicitNonce: 0, isSealing: isSealing)
      }
      guard let reading = key(isSealing: false), let writing = key(isSealing: true), let peer = key(isSealing: true)
      else { throw TLSFailure.brokenRecords }
      self.peer = peer
      layer = RecordLayer(
        reading: reading, writing: writing,
        secrets: suite.version == .tls13 ? .init(reading: secret, writing: secret) : nil, isServer: isServer,
        blocks: BlockPool(), rekeyAfter: 1 << 24)
    }

    deinit { room?.deallocate() }

    func record(_ content: [UInt8], type: UInt8 = ContentType.applicationData) -> [UInt8] {
      RecordLayerTests.seal(content, as: type, &peer)
    }

    /// What reading `ciphertext` brings, up to the first end.
    func feed(_ ciphertext: [UInt8]) -> (bytes: [UInt8], end: TLSSession.ReadStep) {
      var plain: [UInt8] = []
      var scratch = [UInt8](repeating: 0, count: RecordLayer.roomToRead)
      let output = TLSOutput(
        context: Unmanaged.passUnretained(self).toOpaque(), append: { _, _, _ in },
        claim: { context, count in
          context.flatMap { Unmanaged<Bench>.fromOpaque($0).takeUnretainedValue().claim(count) }
        })
      return ciphertext.withUnsafeBytes { bytes in
        var input = bytes
        while true {
          let step = scratch.withUnsafeMutableBytes { layer.read(from: &input, into: $0, replyingTo: output) }
          guard case .bytes(let count) = step else { return (plain, step) }
          plain += scratch[..<count]
        }
      }
    }

    private func claim(_ count: Int) -> UnsafeMutableRawPointer? {
      room?.deallocate()
      room = .allocate(byteCount: count, alignment: 1)
      sent.append(UInt8(truncatingIfNeeded: count))
      return room?.baseAddress
    }
  }

  private static func seal(
    _ content: [UInt8], as type: UInt8 = ContentType.applicationData, _ key: inout RecordKey
  ) -> [UInt8] {
    let count = key.recordCount(content.count)
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
    defer { room.deallocate() }
    guard let start = room.baseAddress else { return [] }
    let isSealed = content.withUnsafeBytes { key.seal($0, as: type, into: start) }
    #expect(isSealed)
    return Array(room)
  }

  private func failure(_ step: TLSSession.ReadStep) -> TLSFailure? {
    if case .failed(let failure) = step { failure } else { nil }
  }

  private static func hex(_ text: String) -> [UInt8] {
    text.split(whereSeparator: \.isWhitespace).compactMap { UInt8($0, radix: 16) }
  }

  /// A secret that somebody still holds is not wiped.
  @Test func aKeyUpdateLetsGoOfTheOldSecrets() throws {
    let bench = try Bench()
    #expect(bench.secret != nil)
    let update: [UInt8] = [UInt8(SSL3_MT_KEY_UPDATE), 0, 0, 1, UInt8(SSL_KEY_UPDATE_REQUESTED)]
    #expect(failure(bench.feed(bench.record(update, type: ContentType.handshake)).end) == nil)
    // Its answer has been sent: both directions have other keys now.
    #expect(!bench.sent.isEmpty)
    #expect(bench.secret == nil)
  }

  // MARK: Known answers

  /// RFC 8448 section 3: the client's application keys, and its record of 50 bytes.
  @Test func keysAndRecordsAreThoseOfTheRFC() throws {
    let suite = try #require(RecordSuite(id: 0x1301))
    let secret = Secret(
      Self.hex(
        """
        9e 40 64 6c e7 9a 7f 9d c0 5a f8 88 9b ce 65 52 87 5a fa 0b 06 df 00 87 f7 92 eb b7 c1 75 04 a5
        """))
    let keys = try #require(KeySchedule.keys(from: secret, suite))
    #expect(keys.key.withBytes(Array.init) == Self.hex("17 42 2d da 59 6e d5 d9 ac d8 90 e3 c6 3f 50 51"))
    #expect(keys.iv.withBytes(Array.init) == Self.hex("5b 78 92 3d ee 08 57 90 33 e5 23 d9"))
    guard var key = RecordKey(keys, suite: suite, sequence: 0, explicitNonce: 0, isSealing: true) else {
      throw TLSFailure.brokenRecords
    }
    #expect(
      Self.seal((0..<50).map { UInt8($0) }, &key)
        == Self.hex(
          """
          17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8
          a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4
          """))
  }

  // MARK: TLS 1.3

  @Test func paddingIsTakenOff() throws {
    let bench = try Bench()
    // The type that is appended is one more zero of padding.
    let padded = bench.record([7, 0, 8, ContentType.applicationData] + [UInt8](repeating: 0, count: 900), type: 0)
    #expect(bench.feed(padded + bench.record([9])).bytes == [7, 0, 8, 9])
    let nothing = bench.record([0, 0, 0], type: 0)
    #expect(failure(bench.feed(nothing).end)?.message == "TLS protocol error: unexpected_message")
    #expect(bench.sent.count == 1)
  }

  @Test func recordsThatBringNothingAreCounted() throws {
    let bench = try Bench()
    for _ in 0..<3 {
      let some = (0..<32).flatMap { _ in bench.record([]) } + bench.record([1])
      #expect(bench.feed(some).bytes == [1])
    }
    let many = (0..<33).flatMap { _ in bench.record([]) } + bench.record([1])
    let result = bench.feed(many)
    #expect(result.bytes.isEmpty && failure(result.end)?.reason == .protocolError)
  }

  @Test func alerts() throws {
    for (alert, outcome) in [([1, 0], "closed"), ([2, 0], "closed"), ([1, 90], "open"), ([2, 40], "failed")] {
      let bench = try Bench()
      let result = bench.feed(bench.record(alert.map { UInt8($0) }, type: ContentType.alert) + bench.record([5]))
      switch result.end {
      case .closed: #expect(outcome == "closed" && result.bytes.isEmpty)
      case .needsInput: #expect(outcome == "open" && result.bytes == [5])
      case .failed(let failure):
        #expect(outcome == "failed" && failure.reason == .alertFromPeer)
        #expect(failure.message == "the peer refused TLS: handshake failure")
      case .bytes: #expect(Bool(false))
      }
      // An alert is not answered by one.
      #expect(bench.sent.isEmpty)
    }
    let short = try Bench()
    #expect(failure(short.feed(short.record([2], type: ContentType.alert)).end)?.reason == .protocolError)
  }

  @Test(
    arguments: [
      [24, 0, 0, 1, 2], [24, 0, 0, 2, 0, 0], [24, 0, 0, 1, 0, 4, 0, 0, 0], [24, 0, 0, 0], [1, 0, 0, 0], [13, 0, 0, 0],
      [4, 255, 255, 255], [],
    ] as [[UInt8]]) func handshakeMessagesThatMayNotCome(message: [UInt8]) throws
  {
    let bench = try Bench()
    #expect(failure(bench.feed(bench.record(message, type: ContentType.handshake)).end)?.reason == .protocolError)
  }

  @Test func ticketsAreForClients() throws {
    let ticket: [UInt8] = [4, 0, 0, 3, 1, 2, 3]
    let client = try Bench()
    // Two tickets in pieces, and data behind them.
    let pieces = [ticket.prefix(2), ticket.suffix(5) + ticket.prefix(6), ticket.suffix(1)].flatMap {
      client.record(Array($0), type: ContentType.handshake)
    }
    #expect(client.feed(pieces + client.record([1])).bytes == [1])
    let server = try Bench(isServer: true)
    #expect(failure(server.feed(server.record(ticket, type: ContentType.handshake)).end)?.reason == .protocolError)
  }

  @Test(
    arguments: [
      ([20, 3, 3, 0, 1, 1], "unexpected_message"), ([22, 3, 3, 0, 40], "unexpected_message"),
      ([23, 3, 3, 0x40, 0x12], "record overflow"), ([23, 3, 3, 0xff, 0xff], "record overflow"),
      ([23, 3, 3, 0, 16], "unexpected_message"), ([23, 3, 3, 0, 0], "unexpected_message"),
    ] as [([UInt8], String)]) func headersThatMayNotCome(bytes: [UInt8], alert: String) throws
  {
    for piece in [1, bytes.count] {
      let bench = try Bench()
      var end = TLSSession.ReadStep.needsInput
      for start in stride(from: 0, to: bytes.count, by: piece) {
        end = bench.feed(Array(bytes[start..<min(bytes.count, start + piece)])).end
      }
      #expect(failure(end)?.message == "TLS protocol error: \(alert)")
    }
  }

  // MARK: TLS 1.2

  @Test func renegotiationOfTLS12IsIgnoredOrRefused() throws {
    let client = try Bench(suite: 0xC02B)
    let hello = client.record([0, 0, 0, 0], type: ContentType.handshake)
    #expect(client.feed(hello + client.record([1])).bytes == [1])
    let server = try Bench(suite: 0xC02B, isServer: true)
    #expect(failure(server.feed(server.record([1, 0, 0, 0], type: 22)).end)?.reason == .protocolError)
    // A warning is no end, and key updates are none of 1.2.
    let warned = try Bench(suite: 0xCCA9)
    #expect(warned.feed(warned.record([1, 100], type: ContentType.alert) + warned.record([1])).bytes == [1])
    #expect(failure(warned.feed(warned.record([24, 0, 0, 1, 0], type: 22)).end)?.reason == .protocolError)
  }

  @Test func explicitNoncesGoOnWhereOpenSSLStopped() throws {
    let suite = try #require(RecordSuite(id: 0xC02F))
    let keys = try #require(
      KeySchedule.keys(
        master: Secret([UInt8](repeating: 1, count: 48)), clientRandom: [1], serverRandom: [2], suite)
    ).client
    guard var key = RecordKey(keys, suite: suite, sequence: 3, explicitNonce: .max - 1, isSealing: true) else {
      throw TLSFailure.brokenRecords
    }
    var nonces: [[UInt8]] = []
    for _ in 0..<3 { nonces.append(Array(Self.seal([1], &key)[5..<13])) }
    #expect(
      nonces == [[255, 255, 255, 255, 255, 255, 255, 255], [0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]])
  }

  @Test func unknownSuitesAreLeftAlone() {
    for id: UInt16 in [0x1304, 0xC013, 0x009C, 0] { #expect(RecordSuite(id: id) == nil) }
  }
}
