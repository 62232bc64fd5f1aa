import Foundation
import TestSupport
import Testing

@testable import Audit

/// A directory of its own, removed afterwards.
private func withDirectory(_ body: (String) async throws -> Void) async throws {
  let directory = NSTemporaryDirectory() + "shipping-\(UUID().uuidString)"
  defer { try? FileManager.default.removeItem(atPath: directory) }
  for folder in ["", "/copy", "/other"] {
    try FileManager.default.createDirectory(
      atPath: directory + folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
  }
  try await body(directory)
}

private func session(_ id: String, user: String = "alice") -> AuditEvent {
  var event = AuditEvent("db.session.start", code: "TDB00I")
  event.sessionID = id
  event.user = user
  event.databaseService = "redshift"
  // What a client calls itself must not be taken for a field.
  event.userAgent = "\"success\":true,"
  event.extra = [("server_id", .text("host")), ("db_labels", .pairs(["success": "true,"]))]
  event.success = true
  return event
}

private func end(_ id: String) -> AuditEvent { session(id).followed(by: "db.session.end", code: "TDB01I") }

private func records(_ path: String) throws -> [[String: Any]] {
  let reader = AuditReader(path: path)
  return try reader.page(AuditQuery(), from: nil, limit: 1_000).lines.map {
    try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
  }
}

/// All bytes of a log.
private func bytes(_ path: String) throws -> Data {
  try AuditFiles(path: path).all().reduce(into: Data()) { $0 += try Data(contentsOf: URL(fileURLWithPath: $1.path)) }
}

struct OpenSessionTests {
  @Test func sessionsWithoutAnEndGetOneAtTheNextStart() async throws {
    try await withDirectory { directory in
      let path = directory + "/events.log"
      do {
        let log = try AuditLog(path: path)
        for id in ["a", "b", "c"] { log.emit(session(id)) }
        log.emit(end("b"))
        var refused = session("d")
        refused.success = false
        log.emit(refused)
        log.flush()
        #expect(await log.openSessions().map(\.id) == ["a", "c"])
        let first = try #require(await log.openSessions().first)
        #expect(first.user == "alice" && first.database == "redshift" && first.host == "host")
      }
      let log = try AuditLog(path: path)
      log.flush()
      let ends = try records(path).filter { $0["reason"] as? String == "service_killed" }
      #expect(ends.map { $0["sid"] as? String } == ["a", "c"])
      let start = try #require(try records(path).first)
      for field in ["user", "db_service", "user_agent", "server_id"] {
        #expect(ends[0][field] as? String == start[field] as? String)
      }
      #expect(ends[0]["db_labels"] as? [String: String] == ["success": "true,"])
      #expect(ends[0]["session_start"] as? String == start["time"] as? String)
      #expect(await log.openSessions().isEmpty)
      #expect(try AuditVerifier(path: path).verify(end: log.head).problems.isEmpty)
    }
  }

  @Test func aCheckpointKeepsSessionsThatStartedInFilesThatAreGone() async throws {
    try await withDirectory { directory in
      let path = directory + "/events.log"
      var settings = AuditLogSettings()
      settings.maximumSize = 10_000
      settings.maximumFiles = 1
      do {
        let log = try AuditLog(path: path, settings: settings)
        log.emit(session("long"))
        for number in 0..<300 {
          log.emit(session("short-\(number)"))
          log.emit(end("short-\(number)"))
          if number % 10 == 0 { log.flush() }
        }
        log.flush()
      }
      #expect(!String(decoding: try bytes(path), as: UTF8.self).contains("\"long\""))
      let log = try AuditLog(path: path, settings: settings)
      log.flush()
      let ends = try records(path).filter { $0["reason"] != nil }
      #expect(ends.map { $0["sid"] as? String } == ["long"])
    }
  }
}

struct ShippingTests {
  /// Brings everything that is there; answers are lost and either side starts anew as `generator` has it.
  private func ship(
    _ path: String, to copyPath: String, losing generator: inout SeededGenerator, _ problems: inout [String]
  ) async throws {
    var isDone = false
    while !isDone {
      let outbox = try AuditOutbox(path: path)
      var copy = try AuditCopy(path: copyPath, maximumSize: 1 << 30)
      try await outbox.seek(copy.head)
      isDone = true
      while let batch = try await outbox.next() {
        if Int.random(in: 0..<4, using: &generator) == 0 {
          copy = try AuditCopy(path: copyPath, maximumSize: 1 << 30)
        }
        let result = try copy.append(batch.bytes, followsGap: batch.followsGap) { _ in }
        if let problem = result.problem { problems.append(problem) }
        #expect(copy.head == batch.end)
        // The same again changes nothing.
        #expect(try copy.append(batch.bytes, followsGap: batch.followsGap) { _ in }.added == 0)
        if Int.random(in: 0..<4, using: &generator) == 0 {
          isDone = false
          break
        }
        try await outbox.acknowledge(copy.head)
      }
    }
  }

  @Test(arguments: 0..<5) func aCopyIsTheLogByteForByteWhateverBreaks(seed: UInt64) async throws {
    try await withDirectory { directory in
      var generator = SeededGenerator(seed: seed)
      let (path, copyPath) = (directory + "/events.log", directory + "/copy/events.log")
      var settings = AuditLogSettings()
      settings.maximumSize = 400_000
      settings.maximumFiles = 1_000
      var problems: [String] = []
      for _ in 0..<6 {
        let log = try AuditLog(path: path, settings: settings)
        for number in 0..<Int.random(in: 0..<900, using: &generator) {
          var event = AuditEvent("db.session.query", code: "TDB02I")
          event.extra = [
            ("db_query", .text(String(repeating: "q", count: Int.random(in: 0..<4_000, using: &generator)))),
            ("number", .number(number)),
          ]
          log.emit(event)
        }
        log.flush()
        try await ship(path, to: copyPath, losing: &generator, &problems)
      }
      #expect(problems.isEmpty)
      #expect(try bytes(path) == bytes(copyPath))
      #expect(try AuditVerifier(path: copyPath).verify(end: nil).problems.isEmpty)
    }
  }

  @Test func whatRotationTookIsAHoleInTheCopy() async throws {
    try await withDirectory { directory in
      var generator = SeededGenerator(seed: 1)
      let (path, copyPath) = (directory + "/events.log", directory + "/copy/events.log")
      var settings = AuditLogSettings()
      settings.maximumSize = 5_000
      settings.maximumFiles = 1
      var problems: [String] = []
      let log = try AuditLog(path: path, settings: settings)
      log.emit(session("first"))
      log.flush()
      try await ship(path, to: copyPath, losing: &generator, &problems)
      for number in 0..<200 {
        log.emit(session("\(number)"))
        log.flush()
      }
      try await ship(path, to: copyPath, losing: &generator, &problems)
      #expect(problems.count == 1 && problems[0].contains("are missing"))
      let lost = log.metrics.lostUnshipped
      let check = try AuditVerifier(path: copyPath).verify(end: nil)
      #expect(lost > 100 && check.records == log.head.sequence - lost)
      #expect(check.problems.count == 1)
    }
  }

  @Test func aCopyTakesRecordsOnlyAndInOrder() async throws {
    try await withDirectory { directory in
      let log = try AuditLog(path: directory + "/events.log")
      for number in 0..<10 { log.emit(session("\(number)")) }
      log.flush()
      let lines = try bytes(log.path).split(separator: 0x0a).map { Array($0) + [0x0a] }
      let copy = try AuditCopy(path: directory + "/copy/events.log", maximumSize: 1 << 20)
      func take(_ lines: [[UInt8]], gap: Bool = false) throws -> AuditCopy.Result {
        try copy.append(lines.flatMap { $0 }, followsGap: gap) { _ in }
      }
      #expect(try take(Array(lines[0..<3])).added == 3)
      #expect(throws: AuditCopy.Refusal.outOfOrder) { try take([lines[4]]) }
      #expect(throws: AuditCopy.Refusal.outOfOrder) { try take([lines[3], lines[5]], gap: true) }
      for wrong in ["\n", "{}\n", "{\"seq\":4,\"event\":\"x\"}\n", "no end", ""] {
        #expect(throws: AuditCopy.Refusal.notARecord(after: 3)) { try take([Array(wrong.utf8)]) }
      }
      struct Unwanted: Error {}
      #expect(throws: Unwanted.self) { try copy.append(lines[3], followsGap: false) { _ in throw Unwanted() } }
      #expect(copy.head.sequence == 3)
      #expect(try take(Array(lines[1..<6])).added == 3)
      #expect(copy.openSessions.map(\.id) == ["0", "1", "2", "3", "4", "5"])
      #expect(try take([lines[8]], gap: true).problem == "records 7 to 8 are missing")
      #expect(copy.openSessions.map(\.id) == ["8"])
    }
  }

  @Test func aCopyStaysWithinItsBound() async throws {
    try await withDirectory { directory in
      let log = try AuditLog(path: directory + "/events.log")
      let outbox = try AuditOutbox(path: log.path)
      let path = directory + "/copy/events.log"
      let copy = try AuditCopy(path: path, maximumSize: 80_000)
      for number in 0..<200 {
        for part in 0..<10 { log.emit(session("\(number)-\(part)")) }
        log.flush()
        while let batch = try await outbox.next() {
          _ = try copy.append(batch.bytes, followsGap: batch.followsGap) { _ in }
        }
      }
      #expect(try bytes(path).count < 100_000)
      #expect(copy.head.sequence == 2_000)
      #expect(try AuditVerifier(path: path).verify(end: copy.head).problems.isEmpty)
    }
  }
}

struct MergeTests {
  private func fill(_ path: String, _ times: [Int]) throws {
    let log = try AuditLog(path: path)
    for time in times {
      var event = AuditEvent("test.event", code: "T1")
      event.time = Date(timeIntervalSince1970: Double(time))
      event.user = time % 3 == 0 ? "alice" : "bob"
      log.emit(event)
    }
    log.flush()
  }

  @Test(arguments: 0..<5) func pagesOfSeveralLogsAreOneInTheOrderOfTime(seed: UInt64) async throws {
    try await withDirectory { directory in
      var generator = SeededGenerator(seed: seed)
      let logs = ["", "/copy", "/other"].map {
        HostLog(host: $0.isEmpty ? nil : String($0.dropFirst()), path: directory + $0 + "/events.log")
      }
      var all: [Int] = []
      for log in logs {
        let times = (0..<Int.random(in: 0..<200, using: &generator)).map { _ in
          Int.random(in: 1...5_000, using: &generator)
        }
        .sorted()
        try fill(log.path, times)
        all += times
      }
      var query = AuditQuery()
      if seed % 2 == 1 { query.user = "alice" }
      let wanted = all.filter { seed % 2 == 0 || $0 % 3 == 0 }.sorted()
      let own = try AuditReader(path: logs[0].path).page(query, from: nil, limit: 1_000).lines.count
      let merge = AuditMerge(logs)
      func times(_ lines: [String]) -> [Int] {
        lines.compactMap { line in
          let fields = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
          return (fields?["time"] as? String).flatMap {
            try? Date($0, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true))
          }
          .map { Int($0.timeIntervalSince1970) }
        }
      }
      var (found, cursor): ([String], AuditMerge.Cursor?) = ([], nil)
      while true {
        let page = try merge.page(query, from: cursor, limit: Int.random(in: 1...40, using: &generator))
        found += page.lines
        // As it goes to the caller and comes back.
        cursor = page.next.description.isEmpty ? nil : AuditMerge.Cursor(page.next.description)
        if page.isAtEnd { break }
      }
      #expect(times(found) == wanted)
      #expect(Set(found).count == found.count)
      let marks = ["copy", "other"].map { "{\"host_id\":\"\($0)\",\"seq\":" }
      #expect(found.filter { line in !marks.contains { line.hasPrefix($0) } }.count == own)
      let count = Int.random(in: 1...50, using: &generator)
      let tail = try merge.tail(query, count: count)
      #expect(times(tail.lines) == wanted.suffix(count))
      #expect(try merge.page(query, from: tail.next, limit: 10).lines.isEmpty)
    }
  }
}
