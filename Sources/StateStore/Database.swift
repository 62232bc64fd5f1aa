/// One transaction on the state: what its statements see, and do, holds together.
///
/// SQL here is what SQLite and PostgreSQL both read: `?` for values, ON CONFLICT, no function that only one has. For the
/// thread and the duration of the transaction only.
public final class Database {
  private let engine: any StatementEngine

  /// Rows that the last `execute` touched.
  public private(set) var changesCount = 0

  init(_ engine: any StatementEngine) { self.engine = engine }

  /// Runs a statement that gives no rows.
  public func execute(sql: String, arguments: Arguments = []) throws {
    changesCount = try engine.execute(sql, arguments.values)
  }

  func rows(sql: String, arguments: Arguments) throws -> [Row] { try engine.rows(sql, arguments.values) }
}

/// What runs single statements within a transaction: SQLite's or PostgreSQL's side.
protocol StatementEngine {
  /// - Returns: how many rows were touched.
  func execute(_ sql: String, _ arguments: [ColumnValue]) throws -> Int
  func rows(_ sql: String, _ arguments: [ColumnValue]) throws -> [Row]
}

/// One row of an answer.
public struct Row: Sendable {
  private let values: [(name: String, value: ColumnValue)]

  init(_ values: [(name: String, value: ColumnValue)]) { self.values = values }

  /// The first column.
  var first: ColumnValue { values.first?.value ?? .null }

  /// The column of that name.
  ///
  /// - Throws: `StateError` if there is none, or it holds another type: the state is damaged, or of another version.
  public subscript<Value: ColumnConvertible>(name: String) -> Value {
    get throws {
      guard let column = values.first(where: { $0.name == name }), let value = Value(columnValue: column.value) else {
        throw StateError(.damaged, "column '\(name)' of the state is missing or holds another type")
      }
      return value
    }
  }

  public static func fetchOne(_ database: Database, sql: String, arguments: Arguments = []) throws -> Row? {
    try fetchAll(database, sql: sql, arguments: arguments).first
  }

  public static func fetchAll(_ database: Database, sql: String, arguments: Arguments = []) throws -> [Row] {
    try database.rows(sql: sql, arguments: arguments)
  }
}

extension ColumnConvertible {
  /// The first column of the first row; `nil` if there is none, or it is NULL.
  public static func fetchOne(_ database: Database, sql: String, arguments: Arguments = []) throws -> Self? {
    guard let row = try Row.fetchOne(database, sql: sql, arguments: arguments), row.first != .null else { return nil }
    return try value(row)
  }

  /// The first column of all rows.
  public static func fetchAll(_ database: Database, sql: String, arguments: Arguments = []) throws -> [Self] {
    try Row.fetchAll(database, sql: sql, arguments: arguments).map(value)
  }

  private static func value(_ row: Row) throws -> Self {
    guard let value = Self(columnValue: row.first) else {
      throw StateError(.damaged, "a column of the state holds another type than \(Self.self)")
    }
    return value
  }
}
