import Foundation
import Synchronization
import Testing

@testable import StateStore

private func quiet() {}

@Suite(.serialized) struct StateStoreTests {
  @Test(arguments: Kind.allCases) func valuesComeBackAsTheyWere(_ kind: Kind) async throws {
    try await withState(kind) { open in
      let store = try open(quiet)
      let body = Data((0...255).map { UInt8($0) })
      try store.write { database in
        try database.execute(
          sql: "INSERT INTO thing VALUES (?, ?, ?, ?)",
          arguments: ["\"ä'?\\", Int64.max, 1_764_115_200.123_456, body])
        try database.execute(
          sql: "INSERT INTO thing VALUES (?, ?, ?, ?)", arguments: ["", Int64?.none, 2.0, Data()])
      }
      let rows = try store.read { try Row.fetchAll($0, sql: "SELECT * FROM thing ORDER BY name DESC") }
      try #require(rows.count == 2)
      #expect(try rows[0]["name"] == "\"ä'?\\")
      #expect(try rows[0]["count"] == Int64.max)
      #expect(try rows[0]["weight"] == 1_764_115_200.123_456)
      #expect(try rows[0]["body"] == body)
      #expect(try rows[1]["name"] == "")
      #expect(try rows[1]["count"] == Int64?.none)
      #expect(try rows[1]["weight"] == 2.0)
      #expect(try rows[1]["body"] == Data())
      #expect(throws: StateError.self) { let _: Int64 = try rows[1]["count"] }
      #expect(throws: StateError.self) { let _: String = try rows[1]["nothing"] }
      let reads: (count: Int?, names: [String], none: String?) = try store.read { database in
        (
          try Int.fetchOne(database, sql: "SELECT count(*) FROM thing"),
          try String.fetchAll(database, sql: "SELECT name FROM thing WHERE weight > ? ORDER BY name", arguments: [1.5]),
          try String.fetchOne(database, sql: "SELECT name FROM thing WHERE name = ?", arguments: ["x"])
        )
      }
      #expect(reads.count == 2 && reads.names.count == 2 && reads.none == nil)
    }
  }

  @Test(arguments: Kind.allCases) func aTransactionThatThrowsLeavesNothing(_ kind: Kind) async throws {
    struct Wanted: Error {}
    try await withState(kind) { open in
      let store = try open(quiet)
      #expect(throws: Wanted.self) {
        try store.write { database in
          try database.execute(sql: "INSERT INTO aside VALUES ('a')")
          throw Wanted()
        }
      }
      #expect(throws: StateError.self) {
        try store.write { database in
          try database.execute(sql: "INSERT INTO aside VALUES ('b')")
          try database.execute(sql: "INSERT INTO aside VALUES ('b')")
        }
      }
      #expect(throws: StateError.self) { try store.read { try $0.execute(sql: "INSERT INTO aside VALUES ('c')") } }
      #expect(try store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM aside") } == 0)
    }
  }

  @Test func aStateWithoutRoomIsToldFromOneOutOfReach() async throws {
    try await withState(.sqlite) { open in
      let store = try open(quiet)
      // As if the disk ended a few pages on.
      try store.write { database in
        let pages = try Int.fetchOne(database, sql: "PRAGMA page_count") ?? 0
        try database.execute(sql: "PRAGMA max_page_count = \(pages + 4)")
      }
      let error = #expect(throws: StateError.self) {
        try store.write { database in
          for number in 0..<1000 {
            try database.execute(
              sql: "INSERT INTO thing (name, body) VALUES (?, ?)", arguments: ["\(number)", Data(count: 1000)])
          }
        }
      }
      #expect(error?.reason == .full)
      #expect(try store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM thing") } == 0)
      try store.write { try $0.execute(sql: "INSERT INTO thing (name) VALUES ('small')") }
    }
  }

  @Test(arguments: Kind.allCases) func rowsTouchedAreCounted(_ kind: Kind) async throws {
    try await withState(kind) { open in
      let store = try open(quiet)
      let counts = try store.write { database in
        for name in ["a", "b"] { try database.execute(sql: "INSERT INTO thing (name) VALUES (?)", arguments: [name]) }
        return try [
          "UPDATE thing SET count = 1", "DELETE FROM thing WHERE name = 'a'", "DELETE FROM thing WHERE name = 'x'",
        ]
        .map { sql in
          try database.execute(sql: sql)
          return database.changesCount
        }
      }
      #expect(counts == [2, 1, 0])
    }
  }

  /// Reads that a write depends on stay true until it is done, over all who share the state.
  @Test(arguments: Kind.allCases) func noUpdateIsLost(_ kind: Kind) async throws {
    try await withState(kind) { open in
      let first = try open(quiet)
      // A SQLite file has one process; a PostgreSQL has as many stores as there are Auth Services.
      let second = kind == .postgresql ? try open(quiet) : first
      try first.write { try $0.execute(sql: "INSERT INTO thing (name, count) VALUES ('n', 0)") }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<40 {
          group.addTask {
            try (number % 2 == 0 ? first : second).write { database in
              let count = try Int.fetchOne(database, sql: "SELECT count FROM thing WHERE name = 'n'") ?? 0
              try database.execute(sql: "UPDATE thing SET count = ?", arguments: [count + 1])
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(try second.read { try Int.fetchOne($0, sql: "SELECT count FROM thing") } == 40)
    }
  }

  @Test(arguments: Kind.allCases) func changesOfCountedTablesAreAnnounced(_ kind: Kind) async throws {
    try await withState(kind) { open in
      let announced = Atomic(0)
      let store = try open { announced.wrappingAdd(1, ordering: .relaxed) }
      let writer = kind == .postgresql ? try open(quiet) : store
      func settled() async throws -> Int {
        try await Task.sleep(for: .seconds(0.5))
        return announced.load(ordering: .relaxed)
      }
      func revision() throws -> String? {
        try store.read { try String.fetchOne($0, sql: "SELECT value FROM setting WHERE name = 'revision'") }
      }
      let atFirst = try await settled()
      try writer.write { try $0.execute(sql: "INSERT INTO aside VALUES ('a')") }
      #expect(try await settled() == atFirst)
      #expect(try revision() == "1")
      try writer.write { try $0.execute(sql: "INSERT INTO thing (name) VALUES ('a')") }
      #expect(try await settled() == atFirst + 1)
      #expect(try revision() == "2")
      try writer.write { try $0.execute(sql: "DELETE FROM thing") }
      #expect(try await settled() == atFirst + 2)
      #expect(try revision() == "3")
    }
  }

  @Test(arguments: Kind.allCases) func aStateIsMadeOnceHoweverManyOpenIt(_ kind: Kind) async throws {
    try await withState(kind) { open in
      let first = try open(quiet)
      try first.write { try $0.execute(sql: "INSERT INTO aside VALUES ('kept')") }
      let again = try open(quiet)
      #expect(try again.read { try String.fetchAll($0, sql: "SELECT name FROM aside") } == ["kept"])
    }
  }

  @Test func aPostgresThatWasAwayIsUsedAgain() async throws {
    try await withState(.postgresql) { open in
      let announced = Atomic(0)
      let store = try open { announced.wrappingAdd(1, ordering: .relaxed) }
      let server = try PostgresServer.shared.get()
      try server.stop()
      #expect(throws: StateError.self) { try store.read { try Int.fetchOne($0, sql: "SELECT 1") } }
      try server.restart()
      #expect(try store.read { try Int.fetchOne($0, sql: "SELECT 1") } == 1)
      try store.write { try $0.execute(sql: "INSERT INTO thing (name) VALUES ('after')") }
      // The listener comes back by itself, and says that something may have changed.
      let before = announced.load(ordering: .relaxed)
      for _ in 0..<100 where announced.load(ordering: .relaxed) == before { try await Task.sleep(for: .seconds(0.1)) }
      #expect(announced.load(ordering: .relaxed) > before)
    }
  }

  @Test func connectionStringsDoNotGoWithoutTLSToOthers() throws {
    #expect(try ConnectionSettings("host=db.example.com user=u").parameters["sslmode"] == "verify-full")
    #expect(try ConnectionSettings("host=db.example.com sslmode=require").parameters["sslmode"] == "require")
    #expect(try ConnectionSettings("postgresql://u:secret@localhost/x").parameters["sslmode"] == nil)
    #expect(try ConnectionSettings("postgresql://u:secret@h:5433/x").place == "PostgreSQL at h:5433")
    for bad in ["postgresql://u:secret@h/x?nonsense=1", "host=a,b", "pasword=secret"] {
      let error = #expect(throws: StateError.self) { try ConnectionSettings(bad) }
      #expect(error?.description.contains("secret") == false)
    }
  }
}
