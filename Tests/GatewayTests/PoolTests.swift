import PostgresWire
import Reactor
import TLS
import Testing

@testable import Gateway

private func message(_ type: Character, _ body: [UInt8] = []) -> [UInt8] {
  let length = UInt32(body.count + 4)
  return [type.asciiValue ?? 0] + (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * UInt32($0))) } + body
}

private func report(_ name: String, _ value: String) -> [UInt8] {
  message("S", Array(name.utf8) + [0] + Array(value.utf8) + [0])
}

private func values(_ book: ParameterBook) -> [String: String] {
  Dictionary(
    uniqueKeysWithValues: book.parameters.map {
      (String(decoding: $0.name, as: UTF8.self), String(decoding: $0.value, as: UTF8.self))
    })
}

@Suite struct ParameterBookTests {
  private let stream =
    report("TimeZone", "UTC") + message("D", [0, 0]) + report("DateStyle", "ISO, MDY")
    + report("TimeZone", "Asia/Tokyo") + message("Z", [0x49])

  @Test func theLatestValueCountsHoweverTheStreamIsCut() {
    for cut in 0...stream.count {
      var book = ParameterBook()
      stream[..<cut].withUnsafeBytes { book.note($0) }
      stream[cut...].withUnsafeBytes { book.note($0) }
      #expect(values(book) == ["TimeZone": "Asia/Tokyo", "DateStyle": "ISO, MDY"], "cut at \(cut)")
    }
  }

  @Test func whatItEncodesReadsTheSame() {
    var book = ParameterBook()
    var copy = ParameterBook()
    stream.withUnsafeBytes { book.note($0) }
    book.encoded.withUnsafeBytes { copy.note($0) }
    #expect(copy.parameters == book.parameters)
  }

  @Test func malformedReportsAndFloodsAreLeftOut() {
    var book = ParameterBook()
    (message("S", [1, 2, 3]) + message("S") + report("a", "b")).withUnsafeBytes { book.note($0) }
    #expect(values(book) == ["a": "b"])
    for number in 0..<2000 { report("p\(number)", "").withUnsafeBytes { book.note($0) } }
    #expect(book.parameters.count == 1000)
  }
}

@Suite struct QuietQueryTests {
  private func outcome(_ bytes: [UInt8], by size: Int = .max) -> QuietQuery.Outcome {
    var query = QuietQuery()
    var book = ParameterBook()
    var rest = bytes[...]
    var outcome = QuietQuery.Outcome.underway
    while outcome == .underway, !rest.isEmpty {
      outcome = rest.prefix(size).withUnsafeBytes { query.take($0, &book) }
      rest = rest.dropFirst(size)
    }
    return outcome
  }

  private let complete = message("C", Array("DISCARD ALL\0".utf8))

  @Test func successIsReadyForQueryOutsideATransaction() {
    let good = report("TimeZone", "UTC") + complete + message("Z", [0x49])
    for size in 1...good.count { #expect(outcome(good, by: size) == .succeeded) }
    #expect(outcome(message("T", [0, 0]) + message("D", [0, 0]) + complete + message("Z", [0x49])) == .succeeded)
    #expect(outcome(complete) == .underway)
  }

  @Test func everythingElseFails() {
    let error = message("E", Array("SERROR\0C42601\0Mwhat is that\0\0".utf8))
    for size in [1, 3, .max] { #expect(outcome(error + message("Z", [0x49]), by: size) == .failed("what is that")) }
    for bytes in [
      complete + message("Z", [0x54]), complete + message("Z", [0x45]), message("1"), message("G", [0, 0, 0]),
      complete + message("Z", [0x49]) + report("a", "b"),
    ] {
      guard case .failed = outcome(bytes) else {
        Issue.record("\(bytes) counts as success")
        continue
      }
    }
  }
}

@Suite struct PoolKeyTests {
  private func key(
    mode: PoolSettings.Mode = .session, identity: [String] = ["db", "alice"], startup: [UInt8] = [1, 2, 3]
  ) -> PoolKey {
    var settings = PoolSettings()
    settings.mode = mode
    let plan = PoolPlan(settings: settings, database: "db", identity: PoolIdentity(identity)) { _ in
      .failure(WireError(.internalError, "not called"))
    }
    return PoolKey(plan, startup: startup)
  }

  @Test func everyPartTellsPoolsApart() {
    #expect(key() == key())
    #expect(Set([key(), key(mode: .transaction), key(identity: ["db", "bob"]), key(startup: [1, 2])]).count == 4)
    // Where a text ends counts: parts are not run together.
    #expect(key(identity: ["ab", "c"]) != key(identity: ["a", "bc"]))
  }

  @Test func sharesOfReactorsAddUpToTheBoundAtLeast() {
    for bound in 1...40 {
      for reactors in 1...8 {
        let share = PoolSettings.share(bound, of: reactors)
        #expect(share >= 1 && share * reactors >= bound && (share - 1) * reactors < max(bound, reactors))
      }
    }
  }
}
