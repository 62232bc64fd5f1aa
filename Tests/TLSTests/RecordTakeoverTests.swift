import CPlatform
import TestSupport
import Testing

@testable import TLS

/// Connections whose records one side or both do without OpenSSL; the other side is OpenSSL.
struct RecordTakeoverTests {
  enum Side: CaseIterable { case client, server, both }

  static let suites = [
    "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
  ]

  private let authorities: Authorities
  init() throws { authorities = try Authorities() }

  private static func restrict(_ context: ClientTLSContext, to suite: String) throws {
    if suite.hasPrefix("TLS_") {
      try #require(SSL_CTX_set_ciphersuites(context.box.context, suite) == 1)
    } else {
      SSL_CTX_ctrl(context.box.context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
      try #require(SSL_CTX_set_cipher_list(context.box.context, suite) == 1)
    }
  }

  /// Both ends after a handshake with that suite, and before any data.
  private func connect(
    _ suite: String = suites[0], side: Side, rekeyAfter: UInt64 = 1 << 24
  ) throws -> (client: End, server: End) {
    let context = try authorities.client(certificate: try authorities.userCertificate())
    try Self.restrict(context, to: suite)
    let (client, server) = (End(client: context, name: "localhost"), End(server: authorities.server))
    let failure = shake(client, server)
    try #require(failure.client == nil && failure.server == nil)
    let pool = BlockPool()
    if side != .server { try #require(client.session.takeRecordsOver(blocks: pool, rekeyAfter: rekeyAfter)) }
    if side != .client { try #require(server.session.takeRecordsOver(blocks: pool)) }
    return (client, server)
  }

  @Test(arguments: suites, Side.allCases) func dataPassesBothWaysHoweverItIsCut(suite: String, side: Side) throws {
    let (client, server) = try connect(suite, side: side)
    var random = SeededGenerator(seed: 5)
    for piece in [1, 3, 5, 1_000, 16_400, .max] {
      for (from, to) in [(client, server), (server, client), (client, server)] {
        let sizes = piece < 1_000 ? [0, 1, 2, 300] : [1, 16_383, 16_384, 16_385, 100_000]
        var sent: [UInt8] = []
        for size in sizes {
          let data = (0..<size).map { _ in UInt8.random(in: .min ... .max, using: &random) }
          #expect(from.write(data) == nil)
          sent += data
        }
        let received = to.readAll(from: from, piece: piece)
        #expect(received.bytes == sent)
        guard case .needsInput = received.end else { return #expect(Bool(false), "\(received.end)") }
      }
    }
    for (from, to) in [(client, server), (server, client)] {
      from.session.shutdown()
      guard case .closed = to.readAll(from: from).end else { return #expect(Bool(false), "no close_notify") }
    }
  }

  @Test(arguments: suites) func openSSLMayReadAndWriteSomeRecordsFirst(suite: String) throws {
    let context = try authorities.client()
    try Self.restrict(context, to: suite)
    let (client, server) = (End(client: context, name: "localhost"), End(server: authorities.server))
    try #require(shake(client, server).client == nil)
    for round in 0..<5 {
      #expect(client.write([1, 2, 3]) == nil && client.write([4]) == nil)
      #expect(server.readAll(from: client).bytes == [1, 2, 3, 4])
      #expect(server.write([UInt8](repeating: 9, count: 20_000)) == nil)
      #expect(client.readAll(from: server).bytes.count == 20_000)
      if round == 1 { #expect(client.session.takeRecordsOver(blocks: BlockPool())) }
      if round == 3 { #expect(server.session.takeRecordsOver(blocks: BlockPool())) }
    }
  }

  @Test func whatTheHandshakeFoundOutIsKept() throws {
    let (before, after) = (try connect(side: .server), try connect(side: .both))
    #expect(before.client.session.hasOwnRecords == false && after.client.session.hasOwnRecords)
    for (old, new) in [(before.client, after.client), (before.server, after.server)] {
      #expect(new.session.protocolVersion == "TLSv1.3")
      #expect(new.session.isPeerVerified && old.session.isPeerVerified)
      #expect(new.session.peerCertificateDER != nil)
      #expect(new.session.serverName == old.session.serverName)
    }
    #expect(after.client.session.peerCertificateDER == before.client.session.peerCertificateDER)
    #expect(after.client.session.serverEndPointHash?.count == 32)
    #expect(after.client.session.serverEndPointHash == before.client.session.serverEndPointHash)
    #expect(after.server.session.serverName == "localhost")
  }

  @Test func recordsAreLeftToOpenSSLWhereTheyCannotBeTakenOver() throws {
    let pool = BlockPool()
    let context = try authorities.client()
    let (client, server) = (End(client: context, name: "localhost"), End(server: authorities.server))
    #expect(!client.session.takeRecordsOver(blocks: pool))
    try #require(shake(client, server).client == nil)
    // In the midst of a record, the rest of which OpenSSL has to read.
    #expect(client.write([1, 2, 3]) == nil)
    let record = client.box.bytes
    client.box.bytes = []
    #expect(server.feed(Array(record.prefix(7))).bytes.isEmpty)
    #expect(!server.session.takeRecordsOver(blocks: pool))
    #expect(server.feed(Array(record.dropFirst(7))).bytes == [1, 2, 3])
    // The keys are no longer those of the handshake.
    let ssl = try #require(client.session.openSSL?.ssl)
    #expect(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 && client.write([4]) == nil)
    #expect(server.readAll(from: client).bytes == [4])
    #expect(!server.session.takeRecordsOver(blocks: pool) && !client.session.takeRecordsOver(blocks: pool))
    #expect(client.write([5]) == nil && server.readAll(from: client).bytes == [5])
    // An output that only appends.
    let plain = End(client: context, name: "localhost", canClaim: false)
    try #require(shake(plain, End(server: authorities.server)).client == nil)
    #expect(!plain.session.takeRecordsOver(blocks: pool))
  }

  // MARK: Keys

  @Test(arguments: suites.prefix(3), [Side.client, .server]) func keyUpdatesOfThePeerAreFollowed(
    suite: String, side: Side
  ) throws {
    let (client, server) = try connect(suite, side: side)
    let (ours, theirs) = side == .client ? (client, server) : (server, client)
    let ssl = try #require(theirs.session.openSSL?.ssl)
    for round: UInt8 in 0..<6 {
      let isRequest = round % 2 == 0
      #expect(SSL_key_update(ssl, isRequest ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) == 1)
      #expect(theirs.write([round, 1]) == nil && theirs.write([2]) == nil)
      #expect(ours.readAll(from: theirs, piece: 4).bytes == [round, 1, 2])
      // A requested update is answered, and OpenSSL follows in its turn.
      #expect(ours.box.bytes.isEmpty == !isRequest)
      #expect(ours.write([3, round]) == nil)
      #expect(theirs.readAll(from: ours).bytes == [3, round])
    }
  }

  @Test(arguments: suites, [Side.client, .both]) func ownKeysAreRenewedInTime(suite: String, side: Side) throws {
    let (client, server) = try connect(suite, side: side, rekeyAfter: 10)
    var updates = 0
    for value in 0..<100 {
      #expect(client.write([UInt8(value)]) == nil)
      updates += client.box.bytes.count > 40 ? 1 : 0
      #expect(server.readAll(from: client).bytes == [UInt8(value)])
      #expect(server.write([1]) == nil && client.readAll(from: server).bytes == [1])
    }
    // TLS 1.2 has no such thing.
    #expect(updates == (suite.hasPrefix("TLS_") ? 9 : 0))
  }

  @Test func keyUpdatesWithoutEndAreRefused() throws {
    let (client, server) = try connect(side: .server)
    let ssl = try #require(client.session.openSSL?.ssl)
    for _ in 0..<33 {
      #expect(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(ssl) == 1)
    }
    guard case .failed(let failure) = server.readAll(from: client).end else { return #expect(Bool(false)) }
    #expect(failure.message == "TLS protocol error: unexpected_message")
  }

  // MARK: Tickets

  @Test(arguments: [1, 100, Int.max]) func ticketsThatComeLaterAreSkipped(piece: Int) throws {
    let (client, server) = try connect(side: .client)
    let ssl = try #require(server.session.openSSL?.ssl)
    SSL_clear_options(ssl, UInt64(1) << 14)
    for value: UInt8 in 0..<5 {
      #expect(SSL_new_session_ticket(ssl) == 1)
      #expect(server.write([value]) == nil)
      #expect(server.box.bytes.count > 200)
      #expect(client.readAll(from: server, piece: piece).bytes == [value])
    }
  }

  // MARK: Attacks

  @Test(arguments: suites) func everyChangedByteIsNoticed(suite: String) throws {
    let (probe, _) = try connect(suite, side: .both)
    #expect(probe.write([1, 2, 3]) == nil)
    for position in 0..<probe.box.bytes.count {
      let (client, server) = try connect(suite, side: .both)
      #expect(client.write([1, 2, 3]) == nil && client.write([4]) == nil)
      client.box.bytes[position] ^= UInt8(1 << (position % 8))
      let result = server.readAll(from: client)
      #expect(result.bytes.isEmpty)
      // A longer length may leave the record incomplete: then nothing is believed either.
      if case .needsInput = result.end {
        #expect(position == 3 || position == 4)
        continue
      }
      guard case .failed(let failure) = result.end else { return #expect(Bool(false), "\(position)") }
      #expect(failure.reason == .protocolError)
      // The peer is told, and what comes later is not read.
      guard case .failed(let told) = client.readAll(from: server).end else { return #expect(Bool(false), "no alert") }
      #expect(told.reason == .alertFromPeer)
      #expect(client.write([5]) == nil)
      guard case .failed = server.readAll(from: client).end else { return #expect(Bool(false), "read on") }
    }
  }

  @Test(arguments: suites) func recordsCountOnceAndInOrder(suite: String) throws {
    for disorder in [[0, 0], [1], [1, 0], [0, 2]] {
      let (client, server) = try connect(suite, side: .both)
      var records: [[UInt8]] = []
      for value: UInt8 in 0..<3 {
        #expect(client.write([value]) == nil)
        records.append(client.box.bytes)
        client.box.bytes = []
      }
      let result = server.feed(disorder.flatMap { records[$0] })
      guard case .failed = result.end else { return #expect(Bool(false), "\(disorder)") }
      #expect(result.bytes == (disorder[0] == 0 ? [0] : []))
    }
  }

  @Test func randomBytesNeverTrap() throws {
    var random = SeededGenerator(seed: 3)
    for suite in Self.suites {
      for _ in 0..<50 {
        let (_, server) = try connect(suite, side: .server)
        var bytes = (0..<Int.random(in: 1...400, using: &random)).map { _ in
          UInt8.random(in: .min ... .max, using: &random)
        }
        if Bool.random(using: &random) {
          bytes.replaceSubrange(
            0..<min(5, bytes.count), with: [23, 3, 3, 0, UInt8.random(in: 0...255, using: &random)])
        }
        if case .bytes = server.feed(bytes).end { #expect(Bool(false)) }
      }
    }
  }

  // MARK: Sizes

  @Test(arguments: [(16_384, 7), (4_096, 25), (Int.max, 7)]) func recordsAreAsLargeAsAllowed(
    largest: Int, records: Int
  ) throws {
    let (client, server) = try connect(side: .both)
    #expect(client.write([UInt8](repeating: 7, count: 100_000), largest: largest) == nil)
    var rest = client.box.bytes[...]
    var sizes: [Int] = []
    while rest.count > 5 {
      let count = 5 + Int(rest[rest.startIndex + 3]) << 8 + Int(rest[rest.startIndex + 4])
      sizes.append(count - 5 - 17)
      rest = rest.dropFirst(count)
    }
    #expect(sizes.count == records && sizes.reduce(0, +) == 100_000)
    #expect(sizes.allSatisfy { $0 <= min(largest, 16_384) })
    #expect(server.readAll(from: client).bytes.count == 100_000)
  }
}
