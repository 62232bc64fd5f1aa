import Foundation
import Testing

@testable import Audit

/// A directory of its own, removed afterwards.
private func withDirectory(_ body: (String) async throws -> Void) async throws {
  let directory = NSTemporaryDirectory() + "audit-\(UUID().uuidString)"
  defer { try? FileManager.default.removeItem(atPath: directory) }
  try FileManager.default.createDirectory(
    atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
  try await body(directory)
}

private func event(_ number: Int, user: String = "alice", size: Int = 0) -> AuditEvent {
  var event = AuditEvent("test.event", code: "T1")
  event.user = user
  event.message = "event \(number) " + String(repeating: "x", count: size)
  return event
}

private func lines(_ path: String) throws -> [String] {
  String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self).split(separator: "\n").map(
    String.init)
}

private func problems(_ path: String, end: AuditHead? = nil) throws -> [String] {
  try AuditVerifier(path: path).verify(end: end).problems
}

struct AuditLogTests {
  @Test func recordsAreNumberedAndChainedOverRestarts() async throws {
    try await withDirectory { directory in
      let path = directory + "/events.log"
      for round in 0..<3 {
        let log = try AuditLog(path: path)
        for number in 0..<100 { log.emit(event(round * 100 + number)) }
        log.flush()
        #expect(log.head.sequence == (round + 1) * 100)
        #expect(try problems(path, end: log.head).isEmpty)
      }
      #expect(try lines(path).count == 300)
      #expect(try AuditVerifier(path: path).verify(end: nil).last == 300)
    }
  }

  @Test func manyThreadsLoseNothing() async throws {
    try await withDirectory { directory in
      let log = try AuditLog(path: directory + "/events.log")
      await withTaskGroup(of: Void.self) { group in
        for writer in 0..<8 {
          group.addTask { for number in 0..<500 { log.emit(event(number, user: "user-\(writer)")) } }
        }
      }
      log.flush()
      #expect(log.metrics.written == 4_000 && log.metrics.dropped == 0)
      #expect(try problems(log.path, end: log.head).isEmpty)
    }
  }

  @Test func durableEventsAreThereWhenTheCallReturns() async throws {
    try await withDirectory { directory in
      let log = try AuditLog(path: directory + "/events.log")
      for number in 1...20 {
        let failure = await withCheckedContinuation { continuation in
          log.emitDurably(event(number)) { continuation.resume(returning: $0) }
        }
        #expect(failure == nil)
        #expect(try lines(log.path).count == number)
      }
      log.flush()
      #expect(log.metrics.syncs >= 20)
    }
  }

  @Test func aTornLineIsCutOffAndReportedWhereverItWasTorn() async throws {
    try await withDirectory { directory in
      let path = directory + "/events.log"
      do {
        let log = try AuditLog(path: path)
        log.emit(event(1))
        log.flush()
      }
      let whole = try Data(contentsOf: URL(fileURLWithPath: path))
      for length in 1..<whole.count {
        try (whole + whole.prefix(length)).write(to: URL(fileURLWithPath: path))
        do { _ = try AuditLog(path: path) }
        let records = try lines(path)
        // A whole copy without its line end is torn, too.
        #expect(records.count == 2 && records[1].contains("audit.recovered"))
        #expect(try problems(path).isEmpty)
        try? FileManager.default.removeItem(atPath: directory + "/events.head")
      }
    }
  }

  @Test func aFileThatEndsWithRubbishIsPutAside() async throws {
    try await withDirectory { directory in
      let path = directory + "/events.log"
      _ = FileManager.default.createFile(
        atPath: path, contents: Data("not a record\n".utf8), attributes: [.posixPermissions: 0o600])
      do {
        let log = try AuditLog(path: path)
        log.emit(event(1))
        log.flush()
      }
      #expect(try lines(path).count == 2)
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: directory).contains { $0.hasPrefix("events.unreadable-") })
    }
  }

  @Test func filesThatOthersCanReadAreRefused() async throws {
    try await withDirectory { directory in
      let path = directory + "/events.log"
      _ = FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o644])
      #expect(throws: AuditError.self) { try AuditLog(path: path) }
    }
  }

  @Test func aRemovedFileIsMadeAnewAndTheHoleShows() async throws {
    try await withDirectory { directory in
      let log = try AuditLog(path: directory + "/events.log")
      for number in 0..<10 { log.emit(event(number)) }
      log.flush()
      unlink(log.path)
      log.flush()
      log.emit(event(10))
      log.emit(event(11))
      log.flush()
      #expect(try lines(log.path).contains { $0.contains("event 11") })
      #expect(try AuditVerifier(path: log.path).verify(end: log.head).first ?? 0 > 10)
    }
  }

  @Test func rotationKeepsTheChainAndSoManyFiles() async throws {
    try await withDirectory { directory in
      var settings = AuditLogSettings()
      settings.maximumSize = 16 << 10
      settings.maximumFiles = 4
      let path = directory + "/events.log"
      for round in 0..<3 {
        let log = try AuditLog(path: path, settings: settings)
        for number in 0..<100 {
          log.emit(event(round * 100 + number, size: 1_000))
          if number % 7 == 0 { log.flush() }
        }
        log.flush()
        let result = try AuditVerifier(path: path).verify(end: log.head)
        #expect(result.problems.isEmpty && result.files == 5 || round == 0)
        #expect(result.last == (round + 1) * 100)
      }
    }
  }

  @Test func everyEditOfALineShows() async throws {
    try await withDirectory { directory in
      let log = try AuditLog(path: directory + "/events.log")
      for number in 0..<6 { log.emit(event(number)) }
      log.flush()
      let original = try lines(log.path)
      func check(_ edited: [String]) throws {
        try Data((edited.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: log.path))
        #expect(try !problems(log.path, end: log.head).isEmpty)
      }
      for index in original.indices {
        // The first line may have gone with rotation; only its content is vouched for.
        if index > 0 { try check(original.enumerated().filter { $0.offset != index }.map(\.element)) }
        var changed = original
        changed[index] = changed[index].replacing("event \(index)", with: "event 99")
        try check(changed)
        var doubled = original
        doubled.insert(original[index], at: index)
        try check(doubled)
      }
    }
  }

  @Test func pagesAndTailAgreeWithTheFiles() async throws {
    try await withDirectory { directory in
      var settings = AuditLogSettings()
      settings.maximumSize = 16 << 10
      let log = try AuditLog(path: directory + "/events.log", settings: settings)
      for number in 0..<300 {
        log.emit(event(number, user: number % 3 == 0 ? "alice" : "bob", size: number % 5 * 100))
        if number % 20 == 0 { log.flush() }
      }
      log.flush()
      let reader = AuditReader(path: log.path)
      for (user, expected) in [(nil, 300), ("alice", 100), ("bob", 200), ("carol", 0)] as [(String?, Int)] {
        for limit in [1, 7, 1_000] {
          var query = AuditQuery()
          query.user = user
          var found: [String] = []
          var cursor: AuditCursor?
          repeat {
            let page = try reader.page(query, from: cursor, limit: limit)
            #expect(page.lines.count <= limit)
            found += page.lines
            cursor = page.isAtEnd ? nil : AuditCursor(page.next.description)
          } while cursor != nil
          #expect(found.count == expected && Set(found).count == expected)
          let tail = try reader.tail(query, count: limit)
          #expect(tail.lines == Array(found.suffix(limit)))
          #expect(try reader.page(query, from: tail.next, limit: 10).lines.isEmpty)
        }
      }
    }
  }

  @Test func nestedFieldsDoNotPassForOwn() async throws {
    try await withDirectory { directory in
      let log = try AuditLog(path: directory + "/events.log")
      var labelled = event(1)
      labelled.extra = [("db_labels", .pairs(["user": "mallory", "db_service": "secret"]))]
      log.emit(labelled)
      log.flush()
      var query = AuditQuery()
      query.user = "mallory"
      #expect(try AuditReader(path: log.path).page(query, from: nil, limit: 10).lines.isEmpty)
    }
  }
}
