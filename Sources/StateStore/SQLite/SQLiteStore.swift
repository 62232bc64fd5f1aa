import Foundation
import GRDB

/// The state in a file of SQLite.
public final class SQLiteStore: StateStore {
  private let queue: DatabaseQueue
  private let observer: RevisionObserver

  /// Opens `path`, which is there, and brings its schema up to date.
  ///
  /// - Parameter changed: called after each commit that counted the revision up.
  /// - Throws: `StateError` for a file that is damaged or no state.
  public init(path: String, migrations: [Migration], changed: @escaping @Sendable () -> Void) throws {
    do {
      var configuration = GRDB.Configuration()
      configuration.prepareDatabase { database in
        try database.execute(sql: "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON")
      }
      queue = try DatabaseQueue(path: path, configuration: configuration)
      try Self.migrator(migrations).migrate(queue)
      let verdict = try queue.read { try Swift.String.fetchOne($0, sql: "PRAGMA quick_check(1)") }
      guard verdict == "ok" else { throw StateError(.damaged, "\(path) is damaged: \(verdict ?? "no answer")") }
    } catch let error as DatabaseError where error.resultCode == .SQLITE_FULL {
      throw StateError(.full, "there is no room on the disk of \(path), which has to be brought up to date; make some")
    } catch let error as DatabaseError {
      throw StateError(
        .damaged, "\(path) is damaged or not a Sallyport state file (\(error.resultCode)); restore a backup")
    }
    observer = RevisionObserver(changed: changed)
    queue.add(transactionObserver: observer)
  }

  public func read<Value>(_ body: (Database) throws -> Value) throws -> Value {
    try Self.translating { try queue.read { try body(Database(SQLiteEngine(database: $0))) } }
  }

  public func write<Value>(_ body: (Database) throws -> Value) throws -> Value {
    try Self.translating { try queue.write { try body(Database(SQLiteEngine(database: $0))) } }
  }

  private static func translating<Value>(_ body: () throws -> Value) throws -> Value {
    do {
      return try body()
    } catch let error as DatabaseError {
      switch error.resultCode {
      case .SQLITE_FULL:
        throw StateError(.full, "the disk with the state is full")
      case .SQLITE_IOERR, .SQLITE_READONLY, .SQLITE_BUSY, .SQLITE_CANTOPEN:
        throw StateError(.unavailable, "the state cannot be read or written: \(error.message ?? "\(error.resultCode)")")
      case .SQLITE_CORRUPT, .SQLITE_NOTADB:
        throw StateError(.damaged, "the state is damaged; restore a backup")
      default:
        throw StateError(.refused, "the state refused a statement: \(error.message ?? "\(error.resultCode)")")
      }
    }
  }

  private static func migrator(_ migrations: [Migration]) -> DatabaseMigrator {
    var migrator = DatabaseMigrator()
    for migration in migrations {
      migrator.registerMigration(migration.name) { database in
        for statement in migration.statements { try database.execute(sql: statement) }
        for table in migration.counted {
          for event in ["INSERT", "UPDATE", "DELETE"] {
            try database.execute(
              sql: """
                CREATE TRIGGER revision_\(table)_\(event) AFTER \(event) ON "\(table)" BEGIN
                  UPDATE setting SET value = CAST(value AS INTEGER) + 1 WHERE name = 'revision';
                END
                """)
          }
        }
      }
    }
    return migrator
  }
}

private struct SQLiteEngine: StatementEngine {
  let database: GRDB.Database

  func execute(_ sql: String, _ arguments: [ColumnValue]) throws -> Int {
    try database.execute(sql: sql, arguments: StatementArguments(arguments.map(\.databaseValue)))
    return database.changesCount
  }

  func rows(_ sql: String, _ arguments: [ColumnValue]) throws -> [Row] {
    try GRDB.Row.fetchAll(database, sql: sql, arguments: StatementArguments(arguments.map(\.databaseValue))).map {
      Row($0.map { ($0.0, ColumnValue($0.1)) })
    }
  }
}

extension ColumnValue {
  fileprivate var databaseValue: DatabaseValue {
    switch self {
    case .null: .null
    case .integer(let number): number.databaseValue
    case .real(let number): number.databaseValue
    case .text(let text): text.databaseValue
    case .blob(let data): data.databaseValue
    }
  }

  fileprivate init(_ value: DatabaseValue) {
    self =
      switch value.storage {
      case .null: .null
      case .int64(let number): .integer(number)
      case .double(let number): .real(number)
      case .string(let text): .text(text)
      case .blob(let data): .blob(data)
      }
  }
}

/// Looks for commits that counted the revision up: triggers do, so no code path can forget it.
///
/// Its state is touched only by GRDB, on the queue of its one writer.
private final class RevisionObserver: TransactionObserver, @unchecked Sendable {
  private let changed: @Sendable () -> Void
  private var isTouched = false

  init(changed: @escaping @Sendable () -> Void) { self.changed = changed }

  func observes(eventsOfKind eventKind: DatabaseEventKind) -> Bool { eventKind.tableName == "setting" }

  func databaseDidChange(with event: DatabaseEvent) { isTouched = true }
  func databaseDidRollback(_ database: GRDB.Database) { isTouched = false }

  func databaseDidCommit(_ database: GRDB.Database) {
    if isTouched { changed() }
    isTouched = false
  }
}
