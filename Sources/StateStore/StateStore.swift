/// The database that holds a cluster's state. Thread-safe; calls block.
public protocol StateStore: Sendable {
  /// Looks at one consistent state.
  func read<Value>(_ body: (Database) throws -> Value) throws -> Value

  /// Changes the state: all of it or, if `body` throws, nothing.
  ///
  /// One writer at a time, over all Auth Services that share the state: what `body` has read stays true until it is done.
  func write<Value>(_ body: (Database) throws -> Value) throws -> Value
}

/// Why the state cannot be read or written.
public struct StateError: Error, Sendable, Equatable, CustomStringConvertible {
  public enum Reason: Sendable {
    /// It cannot be reached, or is too slow; it may be later.
    case unavailable
    /// There is no room left where it lies: it can be read, not changed.
    case full
    /// It is not what it should be.
    case damaged
    /// A statement was refused.
    case refused
  }

  public let reason: Reason
  /// In one line, without secrets, with the mend.
  public let description: String

  public init(_ reason: Reason, _ description: String) {
    self.reason = reason
    self.description = description
  }
}

/// One step of the schema's history. Steps are run once, in order, each in a transaction of its own.
public struct Migration: Sendable {
  /// Kept in the state; never changed once released.
  let name: String
  /// In the types of PostgreSQL, which SQLite reads by their affinity (sqlite.org, "Datatypes In SQLite").
  let statements: [String]
  /// Tables made here whose changes count the setting `revision` up.
  let counted: [String]

  public init(_ name: String, _ statements: [String], counting counted: [String] = []) {
    self.name = name
    self.statements = statements
    self.counted = counted
  }
}
