import TestSupport
import Testing

@testable import PostgresWire

private func packet(_ code: UInt32, _ body: [UInt8] = []) -> [UInt8] {
  var bytes: [UInt8] = []
  bytes.append(uint32: UInt32(8 + body.count))
  bytes.append(uint32: code)
  return bytes + body
}

private func startup(_ pairs: [(String, String)], code: UInt32 = 3 << 16) -> [UInt8] {
  var body: [UInt8] = []
  for (name, value) in pairs {
    body += name.utf8
    body.append(0)
    body += value.utf8
    body.append(0)
  }
  return packet(code, body + [0])
}

private func parse(_ bytes: [UInt8]) throws -> (request: StartupRequest, consumed: Int)? {
  try bytes.withUnsafeBytes { try StartupPacket.parse($0) }
}

private func parameters(_ bytes: [UInt8]) throws -> StartupParameters {
  guard case .startup(let parameters) = try #require(try parse(bytes)).request else {
    throw WireError(.internalError, "not a startup packet")
  }
  return parameters
}

struct StartupTests {
  @Test func requestsAreToldApart() throws {
    guard case .ssl = try #require(try parse(packet(80_877_103))).request else { return #expect(Bool(false)) }
    guard case .gssEncryption = try #require(try parse(packet(80_877_104))).request else { return #expect(Bool(false)) }
    let cancel = try #require(try parse(packet(80_877_102, [0, 0, 0, 7, 1, 2, 3, 4])))
    guard case .cancel(let processID, let secret) = cancel.request else { return #expect(Bool(false)) }
    #expect(processID == 7)
    #expect(secret == [1, 2, 3, 4])
  }

  @Test(arguments: [0, 4, 7, 10_001, 0x7fff_ffff, 0xffff_ffff] as [UInt32])
  func lengthIsJudgedBeforeAnythingIsWaitedFor(length: UInt32) {
    var bytes: [UInt8] = []
    bytes.append(uint32: length)
    #expect(throws: WireError.self) { try parse(bytes) }
  }

  @Test func everyPrefixAsksForMore() throws {
    let whole = startup([("user", "alice"), ("database", "dev")])
    for count in 0..<whole.count { #expect(try parse(Array(whole.prefix(count))) == nil) }
    #expect(try parse(whole)?.consumed == whole.count)
  }

  @Test func databaseDefaultsToUser() throws {
    #expect(try parameters(startup([("user", "alice")])).database == "alice")
  }

  @Test(arguments: [
    packet(3 << 16, Array("user\0a".utf8)), packet(3 << 16, Array("user\0a\0".utf8)),
    packet(3 << 16, Array("user\0a\0\0junk".utf8)), startup([("user", "a"), ("user", "b")]),
    startup([("user", "a\u{1b}b")]), packet(3 << 16, Array("user".utf8) + [0, 0xff, 0, 0]),
  ])
  func malformedPacketsAreProtocolViolations(bytes: [UInt8]) {
    #expect { try parse(bytes) } throws: { ($0 as? WireError)?.state == .protocolViolation }
  }

  @Test(arguments: [2, 4, 0x7fff] as [UInt32])
  func otherMajorVersionsAreUnsupported(major: UInt32) {
    #expect { try parse(packet(major << 16, [0])) } throws: { ($0 as? WireError)?.state == .featureNotSupported }
  }

  @Test func newerMinorsAndProtocolOptionsAreNegotiatedDown() throws {
    let asked = try parameters(startup([("user", "a"), ("_pq_.x", "1")], code: 3 << 16 | 2))
    #expect(asked.negotiation == [0x76, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 1] + Array("_pq_.x".utf8) + [0])
    #expect(try parameters(startup([("user", "a")])).negotiation == nil)
  }

  @Test(arguments: [
    ("false", false), ("F", false), ("no", false), ("off", false), ("of", false), ("0", false), ("o", true),
    ("true", true),
    ("database", true), ("1", true), ("on", true), ("", true), ("nonsense", true),
  ])
  func replicationSpellings(value: String, wanted: Bool) throws {
    #expect(try parameters(startup([("user", "a"), ("replication", value)])).wantsReplication == wanted)
  }

  @Test func parametersAreRelayedInOrderExceptOurs() throws {
    let asked = try parameters(
      startup([
        ("user", "a"), ("DateStyle", "ISO"), ("database", "b"), ("replication", "no"), ("options", "-c x=y"),
        ("_pq_.z", "1"),
      ]))
    let sent = try parameters(try asked.relayed(user: "IAMR:role", database: "dev"))
    #expect(sent.user == "IAMR:role")
    #expect(sent.database == "dev")
    let expected = startup([("user", "IAMR:role"), ("database", "dev"), ("DateStyle", "ISO"), ("options", "-c x=y")])
    #expect(try asked.relayed(user: "IAMR:role", database: "dev") == expected)
    #expect(throws: WireError.self) { try asked.relayed(user: "a\0b", database: "dev") }
  }

  @Test func garbageNeverTraps() {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<100_000 {
      var bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
        UInt8.random(in: .min ... .max, using: &random)
      }
      if Bool.random(using: &random), bytes.count >= 8 {
        bytes.replaceSubrange(0..<8, with: [0, 0, 0, UInt8(bytes.count), 0, 3, 0, 0])
      }
      _ = try? parse(bytes)
    }
  }
}
