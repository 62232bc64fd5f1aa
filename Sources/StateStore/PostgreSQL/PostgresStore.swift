import Foundation
import Synchronization

/// The state in a PostgreSQL that several Auth Services share.
///
/// A few connections serve all callers; one that broke is replaced at the next use. Changes are announced by NOTIFY, so
/// every Auth Service hears of those of the others.
public final class PostgresStore: StateStore {
  private let settings: ConnectionSettings
  private let idle = Mutex<[PooledConnection]>([])
  private let free = DispatchSemaphore(value: maximumConnections)
  private let listener: ChangeListener

  private static let maximumConnections = 8
  /// Names our locks among other programs' in one database (pg_advisory_lock): "sallyprt" in ASCII.
  private static let lockKey: Int64 = 0x7361_6c6c_7970_7274
  static let channel = "sallyport_revision"

  /// Connects and brings the schema up to date; of several Auth Services that start at once, one does.
  ///
  /// - Parameter changed: called soon after each commit, anyone's, that counted the revision up.
  /// - Throws: `StateError`.
  public init(_ settings: ConnectionSettings, migrations: [Migration], changed: @escaping @Sendable () -> Void) throws {
    self.settings = settings
    listener = ChangeListener(settings, channel: Self.channel, changed: changed)
    try write { database in try Self.migrate(migrations, database) }
    listener.start()
  }

  deinit { listener.stop() }

  public func read<Value>(_ body: (Database) throws -> Value) throws -> Value {
    try transaction(begin: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", body)
  }

  public func write<Value>(_ body: (Database) throws -> Value) throws -> Value {
    try transaction(begin: "BEGIN") { database in
      // As SQLite has it: one writer at a time, so what a transaction has read stays true until it commits.
      _ = try database.rows(sql: "SELECT pg_advisory_xact_lock(?)", arguments: [Self.lockKey])
      return try body(database)
    }
  }

  // MARK: Transactions

  private func transaction<Value>(begin: String, _ body: (Database) throws -> Value) throws -> Value {
    guard free.wait(timeout: .now() + .seconds(ConnectionSettings.limit)) == .success else {
      throw StateError(.unavailable, "\(settings.place): all \(Self.maximumConnections) connections are busy")
    }
    defer { free.signal() }
    let connection = try beginning(begin)
    do {
      let value = try body(Database(PostgresEngine(connection: connection)))
      _ = try connection.run("COMMIT")
      keep(connection)
      return value
    } catch {
      // Nothing is said for a connection that is lost: the server rolls back by itself.
      if (try? connection.run("ROLLBACK")) != nil { keep(connection) }
      throw error
    }
  }

  /// A connection on which the transaction has begun. One that lay idle may have died: a fresh one is taken then.
  private func beginning(_ begin: String) throws -> PostgresConnection {
    while let connection = idle.withLock({ $0.popLast()?.connection }) {
      do {
        _ = try connection.run(begin)
        return connection
      } catch let error as StateError where error.reason == .unavailable {
        continue
      }
    }
    let connection = try PostgresConnection(settings)
    _ = try connection.run(begin)
    return connection
  }

  private func keep(_ connection: PostgresConnection) {
    guard connection.isUsable else { return }
    let pooled = PooledConnection(connection: connection)
    idle.withLock { $0.append(pooled) }
  }

  // MARK: Schema

  private static func migrate(_ migrations: [Migration], _ database: Database) throws {
    try database.execute(sql: "CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY)")
    let done = Set(try String.fetchAll(database, sql: "SELECT name FROM migration"))
    let known = Set(migrations.map(\.name))
    guard done.isSubset(of: known) else {
      throw StateError(.damaged, "the state is of a later version of this program; update this Auth Service")
    }
    for migration in migrations where !done.contains(migration.name) {
      for statement in migration.statements { try database.execute(sql: statement) }
      if !migration.counted.isEmpty { try database.execute(sql: countingFunction) }
      for table in migration.counted {
        try database.execute(
          sql: """
            CREATE TRIGGER revision_\(table) AFTER INSERT OR UPDATE OR DELETE ON "\(table)"
            FOR EACH ROW EXECUTE FUNCTION count_revision()
            """)
      }
      try database.execute(sql: "INSERT INTO migration VALUES (?)", arguments: [migration.name])
    }
  }

  /// Notifications of one transaction with the same text are sent once, at its commit (NOTIFY).
  private static let countingFunction = """
    CREATE OR REPLACE FUNCTION count_revision() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      UPDATE setting SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE name = 'revision';
      PERFORM pg_notify('\(channel)', '');
      RETURN NULL;
    END $$
    """
}

/// Invariant: in the pool or with one transaction, never both, so one thread at a time has it.
private struct PooledConnection: @unchecked Sendable {
  let connection: PostgresConnection
}

private struct PostgresEngine: StatementEngine {
  let connection: PostgresConnection

  func execute(_ sql: String, _ arguments: [ColumnValue]) throws -> Int {
    try connection.run(Self.numbered(sql), arguments).touched
  }

  func rows(_ sql: String, _ arguments: [ColumnValue]) throws -> [Row] {
    try connection.run(Self.numbered(sql), arguments).rows
  }

  /// `?` as `$1` and so on; our statements have none within quotes.
  private static func numbered(_ sql: String) -> String {
    var number = 0
    return sql.reduce(into: "") { text, character in
      if character == "?" {
        number += 1
        text += "$\(number)"
      } else {
        text.append(character)
      }
    }
  }
}
