import Audit
import Foundation
import PostgresWire
import TestSupport
import Testing

@testable import DatabaseService
@testable import Gateway

/// A session without sockets: recorder, ring, auditor and log, fed with bytes from both sides.
private final class Session {
  let log: AuditLog
  private let auditor: QueryAuditor
  private var recorder: QueryRecorder
  private let number: UInt64
  private let directory: String
  private(set) var isRefused = false
  private var random: SeededGenerator?

  /// - Parameter seed: cuts the streams at random if given.
  init(
    level: QueryAuditLevel = .statements, settings: QueryRecording.Settings = .init(), seed: UInt64? = nil
  ) throws {
    directory = NSTemporaryDirectory() + "query-\(UUID().uuidString)"
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    log = try AuditLog(path: directory + "/events.log")
    auditor = QueryAuditor(level: level, settings: settings, reactorCount: 1, log: log)
    var start = AuditEvent("db.session.start", code: "TDB00I")
    start.user = "alice"
    number = auditor.begin(start)
    recorder = QueryRecorder(auditor.recording, reactor: 0, session: number)
    random = seed.map(SeededGenerator.init)
  }

  deinit { try? FileManager.default.removeItem(atPath: directory) }

  func client(_ bytes: [UInt8]...) {
    for chunk in cut(bytes.flatMap { $0 }) {
      if chunk.withUnsafeBytes({ recorder.noteRequests($0, now: Self.now()) }) != .noted { isRefused = true }
    }
  }

  func server(_ bytes: [UInt8]...) {
    for chunk in cut(bytes.flatMap { $0 }) { chunk.withUnsafeBytes { recorder.noteResponses($0, now: Self.now()) } }
  }

  private func cut(_ bytes: [UInt8]) -> [[UInt8]] {
    guard var random else { return [bytes] }
    defer { self.random = random }
    var rest = bytes[...]
    var chunks: [[UInt8]] = []
    while !rest.isEmpty {
      chunks.append(Array(rest.prefix(Int.random(in: 1...12, using: &random))))
      rest = rest.dropFirst(chunks[chunks.count - 1].count)
    }
    return chunks
  }

  private static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
  }

  /// Ends the session; what was recorded, each as CODE:TEXT:STATE and whether success is known.
  func end() throws -> [String] {
    log.emit(AuditEvent("db.session.end", code: "TDB01I")) { [auditor, number] in auditor.end(number, $0) }
    log.flush()
    return try records().dropLast().map { record in
      let text = ["db_query", "query", "portal_name", "function_oid"].compactMap { record[$0].map { "\($0)" } }.first
      let outcome = (record["success"] as? Bool).map { $0 ? "ok" : record["error"] as? String ?? "failed" } ?? "unknown"
      return "\(record["code"] ?? ""):\(text ?? ""):\(outcome)"
    }
  }

  func records() throws -> [[String: Any]] {
    try Data(contentsOf: URL(fileURLWithPath: log.path)).split(separator: 0x0a).map {
      try #require(try JSONSerialization.jsonObject(with: $0) as? [String: Any])
    }
  }
}

// MARK: Messages

private func message(_ type: Character, _ body: [UInt8]) -> [UInt8] {
  let length = UInt32(body.count + 4)
  return Array(String(type).utf8) + withUnsafeBytes(of: length.bigEndian) { Array($0) } + body
}
private func text(_ string: String) -> [UInt8] { Array(string.utf8) + [0] }
private func query(_ sql: String) -> [UInt8] { message("Q", text(sql)) }
private func parse(_ name: String, _ sql: String) -> [UInt8] { message("P", text(name) + text(sql) + [0, 0]) }
private func bind(_ portal: String, _ name: String, _ values: [String?] = []) -> [UInt8] {
  var body = text(portal) + text(name) + [0, 0, 0, UInt8(values.count)]
  for value in values {
    body += value.map { [0, 0, 0, UInt8($0.utf8.count)] + Array($0.utf8) } ?? [255, 255, 255, 255]
  }
  return message("B", body + [0, 0])
}
private func execute(_ portal: String = "") -> [UInt8] { message("E", text(portal) + [0, 0, 0, 0]) }
private func close(_ name: String) -> [UInt8] { message("C", [UInt8(ascii: "S")] + text(name)) }
private func describe(_ name: String) -> [UInt8] { message("D", [UInt8(ascii: "S")] + text(name)) }
private let sync = message("S", [])
private let parsed = message("1", [])
private let bound = message("2", [])
private let closed = message("3", [])
private let suspended = message("s", [])
private let row = message("D", [0, 1, 0, 0, 0, 1, 0x31])
private let completed = message("C", text("SELECT 1"))
private let described = message("t", [0, 0]) + message("T", [0, 0])
private func ready(_ status: Character = "I") -> [UInt8] { message("Z", Array(String(status).utf8)) }
private func failed(_ state: String) -> [UInt8] {
  message("E", text("SERROR") + text("C" + state) + text("Mit went wrong") + [0])
}

struct StatementTrackerTests {
  /// Whole and cut at random.
  static let seeds: [UInt64?] = [nil, 1, 2, 3, 4, 5]

  @Test(arguments: seeds) func simpleQueries(_ seed: UInt64?) throws {
    let session = try Session(seed: seed)
    session.client(query("select 1"))
    session.server(row, row, completed, ready())
    session.client(query("select 1; select 1/0"))
    session.server(row, completed, failed("22012"), ready())
    session.client(query("a"), query("b"), query("c"))
    session.server(completed, ready(), failed("42601"), ready(), completed, ready())
    #expect(
      try session.end() == [
        "TDB02I:select 1:ok", "TDB02W:select 1; select 1/0:22012", "TDB02I:a:ok", "TDB02W:b:42601", "TDB02I:c:ok",
      ])
  }

  @Test(arguments: seeds) func preparedStatements(_ seed: UInt64?) throws {
    var settings = QueryRecording.Settings()
    settings.includesParameters = true
    let session = try Session(settings: settings, seed: seed)
    session.client(parse("s", "select $1"), describe("s"), sync)
    session.server(parsed, described, ready())
    session.client(bind("", "s", ["one"]), execute(), sync)
    session.server(bound, row, completed, ready())
    session.client(bind("", "s", [nil]), execute(), bind("p", "s", ["two"]), execute("p"), execute("p"), sync)
    session.server(bound, completed, bound, row, suspended, row, completed, ready())
    session.client(close("s"), sync, bind("", "s"), execute(), sync)
    session.server(closed, ready(), failed("26000"), ready())
    #expect(
      try session.end() == [
        "TDB02I:select $1:ok", "TDB02I:select $1:ok", "TDB02I:select $1:ok", "TDB02I:select $1:ok", "TDB02W::26000",
      ])
    let parameters = try session.records().compactMap { $0["db_query_parameters"] as? [String] }
    #expect(parameters == [["one"], ["NULL"], ["two"], ["two"]])
  }

  @Test(arguments: seeds) func whatFollowsAnErrorIsSkippedUpToTheSync(_ seed: UInt64?) throws {
    let session = try Session(seed: seed)
    session.client(parse("", "first"), bind("", ""), execute())
    session.client(parse("", "second"), bind("", ""), execute(), parse("", "third"), bind("", ""), execute(), sync)
    session.client(parse("", "fourth"), bind("", ""), execute(), sync)
    session.server(parsed, bound, completed, parsed, failed("22P02"), ready())
    session.server(parsed, bound, completed, ready())
    #expect(
      try session.end() == ["TDB02I:first:ok", "TDB02W:second:22P02", "TDB02I:fourth:ok"])
  }

  @Test func theRestOfAPipelineThatComesAfterTheErrorIsSkippedToo() throws {
    let session = try Session()
    session.client(parse("", "wrong"), bind("", ""))
    session.server(failed("42601"))
    session.client(execute(), query("skipped as well"), parse("", "never"), bind("", ""), execute(), sync)
    session.server(ready())
    session.client(query("afterwards"))
    session.server(completed, ready())
    #expect(try session.end() == ["TDB02W:wrong:42601", "TDB02I:afterwards:ok"])
  }

  @Test func aFailedParseDoesNotReplaceTheStatement() throws {
    let session = try Session()
    session.client(parse("s", "the real one"), sync, parse("s", "an impostor"), sync, bind("", "s"), execute(), sync)
    session.server(parsed, ready(), failed("42P05"), ready(), bound, completed, ready())
    #expect(try session.end() == ["TDB02W:an impostor:42P05", "TDB02I:the real one:ok"])
  }

  @Test func anErrorAtTheSyncBelongsToNoStatement() throws {
    let session = try Session()
    session.client(parse("", "insert"), bind("", ""), execute(), sync, query("next"))
    session.server(parsed, bound, completed, failed("23505"), ready(), completed, ready())
    #expect(try session.end() == ["TDB02I:insert:ok", "TDB02W::23505", "TDB02I:next:ok"])
  }

  @Test func functionCallsAndMessagesHaveEventsOfTheirOwn() throws {
    let session = try Session(level: .protocol)
    session.client(message("F", [0, 0, 3, 0xbb, 0, 0, 0, 0, 0, 0]))
    session.server(message("V", [255, 255, 255, 255]), ready())
    session.client(parse("s", "select"), bind("p", "s"), execute("p"), close("s"), sync)
    session.server(parsed, bound, completed, closed, ready())
    #expect(
      try session.end() == [
        "TPG04I:955:ok", "TPG00I:select:ok", "TPG01I:p:ok", "TPG02I:p:ok", "TDB02I:select:ok", "TPG03I::ok",
      ])
  }

  @Test func whatHasNoOutcomeAtTheEndIsRecordedWithoutOne() throws {
    let session = try Session()
    session.client(parse("", "prepared"), bind("", ""), execute(), query("running"))
    // Only half of it was sent: it never ran.
    session.client(Array(query("not even sent").dropLast(3)))
    #expect(try session.end() == ["TDB02I:prepared:unknown", "TDB02I:running:unknown"])
  }

  @Test func aSlowStatementIsRecordedBeforeItsOutcomeAndItsFailureToo() async throws {
    let session = try Session()
    session.client(query("slow"), query("next"))
    try await Task.sleep(for: .seconds(2))
    #expect(try session.records().map { $0["db_query"] as? String } == ["slow", "next"])
    session.server(failed("57014"), ready(), completed, ready())
    #expect(try session.end() == ["TDB02I:slow:unknown", "TDB02I:next:unknown", "TDB02W:slow:57014"])
  }

  @Test func copyDataIsNotRecorded() throws {
    let session = try Session()
    session.client(query("copy t from stdin"))
    session.server(message("G", [0, 0, 0]))
    session.client(message("d", text("select 'data'")), message("c", []))
    session.server(completed, ready())
    #expect(try session.end() == ["TDB02I:copy t from stdin:ok"])
  }

  @Test func longTextsAreCutAndNamesThatAreCutStandForNothing() throws {
    var settings = QueryRecording.Settings()
    settings.maximumQuery = 1_000
    let session = try Session(settings: settings)
    let long = String(repeating: "x", count: 5_000)
    session.client(query(long))
    session.server(completed, ready())
    session.client(parse("", "remembered"), bind("", ""), execute(), sync)
    session.server(parsed, bound, completed, ready())
    // Were the unreadable Bind passed over, this would look like the statement before.
    session.client(parse(long, "hidden"), bind("", long), execute(), sync)
    session.server(parsed, bound, completed, ready())
    _ = try session.end()
    let records = try session.records()
    #expect(records[0]["db_query"] as? String == String(long.prefix(1_000)))
    #expect(records[0]["db_query_length"] as? Int == 5_000 && records[0]["db_query_truncated"] as? Bool == true)
    #expect(records[1]["db_query"] as? String == "remembered")
    #expect(records[2]["db_query_unknown"] as? Bool == true && records[2]["db_query"] == nil)
  }

  /// PostgreSQL cuts names after 63 bytes, so that the Close and the second Parse concern the statement of the first.
  @Test(arguments: ["y", String(repeating: "y", count: 5_000)])
  func whatHappensUnderALongNameMakesItsBeginningUnknown(_ rest: String) throws {
    let session = try Session()
    let name = String(repeating: "x", count: 63)
    session.client(parse(name, "harmless"), bind("", name), execute(), sync)
    session.server(parsed, bound, completed, ready())
    session.client(close(name + rest), parse(name + rest, "harmful"), bind("", name), execute(), sync)
    session.server(closed, parsed, bound, completed, ready())
    _ = try session.end()
    let records = try session.records()
    #expect(records[0]["db_query"] as? String == "harmless")
    #expect(records[1]["db_query_unknown"] as? Bool == true && records[1]["db_query"] == nil)
  }

  @Test(arguments: seeds) func aStrictSessionEndsBeforeALongNameIsUsed(_ seed: UInt64?) throws {
    var settings = QueryRecording.Settings()
    settings.isStrict = true
    let name = String(repeating: "x", count: 63)
    let session = try Session(settings: settings, seed: seed)
    session.client(
      parse(name, "select 1, 'a text longer than any name may be, for good measure, and for the measure some more'"),
      bind("", name), bind(name, name), describe(name), execute(name), close(name), sync)
    #expect(!session.isRefused)
    for request in [
      parse(name + "y", ""), bind(name + "y", name), bind("", name + "y"), describe(name + "y"), execute(name + "y"),
      close(name + "y"),
    ] {
      let session = try Session(settings: settings, seed: seed)
      session.client(request)
      #expect(session.isRefused)
    }
  }

  /// The ring of the smallest size holds 4 KiB; nothing drains it while the producer is at it.
  private func overflowing(strict: Bool) throws -> (QueryRecorder, QueryRing, QueryRecording) {
    var settings = QueryRecording.Settings()
    settings.ringSize = 4_096
    settings.isStrict = strict
    let recording = QueryRecording(reactorCount: 1, settings: settings) {}
    return (QueryRecorder(recording, reactor: 0, session: 1), recording.rings[0], recording)
  }

  @Test func withoutRoomAStrictSessionEnds() throws {
    var (recorder, ring, _) = try overflowing(strict: true)
    let statement = query(String(repeating: "x", count: 500))
    var accepted = 0
    while statement.withUnsafeBytes({ recorder.noteRequests($0, now: 0) }) == .noted, accepted < 100 { accepted += 1 }
    #expect((5...7).contains(accepted))
    #expect(ring.takeLostCount() == 1 && ring.takeLostCount() == 0)
  }

  @Test func withoutRoomBestEffortCountsAndMarksTheGap() throws {
    var (recorder, ring, _) = try overflowing(strict: false)
    let statement = query(String(repeating: "x", count: 500))
    for _ in 0..<20 { #expect(statement.withUnsafeBytes { recorder.noteRequests($0, now: 0) } == .noted) }
    var taken = 0
    ring.drain { entry, bytes in
      #expect(!entry.flags.contains(.gap) && bytes.count == 501)
      taken += 1
      return true
    }
    #expect(taken + ring.takeLostCount() == 20)
    #expect(statement.withUnsafeBytes { recorder.noteRequests($0, now: 0) } == .noted)
    ring.drain { entry, _ in
      #expect(entry.flags.contains(.gap))
      return true
    }
  }

  @Test func aRingHandsOverEverythingBetweenTwoThreads() async throws {
    let recording = QueryRecording(reactorCount: 1, settings: .init()) {}
    let ring = recording.rings[0]
    let count = 200_000
    let producer = Task.detached {
      var random = SeededGenerator(seed: 3)
      for number in 0..<count {
        let bytes = [UInt8](
          repeating: UInt8(truncatingIfNeeded: number), count: Int.random(in: 0...300, using: &random))
        let entry = QueryRing.Entry(
          type: 1, flags: [], bodyLength: UInt32(number), acknowledged: 0, session: UInt64(bytes.count), time: 0)
        while !bytes.withUnsafeBytes({ ring.put(entry, $0, reserve: 0) }) { await Task.yield() }
      }
    }
    var expected = 0
    while expected < count {
      ring.drain { entry, bytes in
        if entry.bodyLength != UInt32(expected) || UInt64(bytes.count) != entry.session
          || bytes.contains(where: { $0 != UInt8(truncatingIfNeeded: expected) })
        {
          Issue.record("entry \(expected) is damaged")
        }
        expected += 1
        return true
      }
      await Task.yield()
    }
    await producer.value
    #expect(expected == count)
  }

  @Test func afterAGapNothingIsAttributedWrongly() async throws {
    var settings = QueryRecording.Settings()
    settings.ringSize = 4_096
    let session = try Session(settings: settings)
    session.client(parse("s", "old text"), sync)
    session.server(parsed, ready())
    session.log.flush()
    // One burst that cannot fit, with a new text for the same name somewhere in it, while the log's thread is held.
    let gate = DispatchSemaphore(value: 0)
    session.log.emit(AuditEvent("test.gate", code: "T1")) { _ in gate.wait() }
    try await Task.sleep(for: .milliseconds(200))
    for _ in 0..<20 { session.client(query(String(repeating: "x", count: 900))) }
    session.client(close("s"), parse("s", "new text"), sync)
    for _ in 0..<20 { session.server(completed, ready()) }
    session.server(closed, parsed, ready())
    gate.signal()
    session.log.flush()
    session.client(bind("", "s"), execute(), sync)
    session.server(bound, completed, ready())
    let records = try session.end()
    #expect(!records.contains { $0.contains("old text") })
    #expect(records.contains { $0.hasPrefix("SPA00W") })
  }
}
