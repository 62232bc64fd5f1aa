/// How connections to one database outlive their clients. The defaults and, in teleport.yaml, the names are PgBouncer's.
public struct PoolSettings: Sendable, Equatable {
  /// When a client lets go of its server connection.
  public enum Mode: String, Sendable, CaseIterable {
    /// When it leaves.
    case session
    /// At the end of each transaction.
    case transaction
  }

  public var mode = Mode.session
  /// Connections of one pool: those kept, and in mode transaction those in use as well.
  public var size = 20
  /// Likewise of all pools of the database.
  public var databaseSize = 100
  /// Milliseconds that a connection may wait for its next client.
  public var idleTimeout: UInt64 = 600_000
  /// Milliseconds after whose login it is given to nobody any more.
  public var lifetime: UInt64 = 3_600_000
  /// What makes it as good as new; empty: nothing is asked.
  public var resetQuery = "DISCARD ALL"
  /// In mode transaction, whether that is asked after every transaction rather than never.
  public var resetsAlways = false
  /// Milliseconds after which a kept connection has to answer an empty query before it is given to a client.
  public var checkDelay: UInt64 = 30_000
  /// Milliseconds that a client waits for a connection in mode transaction.
  public var waitTimeout: UInt64 = 120_000
  /// Clients of one pool that may wait so at once.
  public var maximumWaiting = 1000
  /// Prepared statements that a connection keeps in mode transaction.
  public var maximumStatements = 200

  public init() {}

  /// What one of `count` reactors may have of a bound; at least one.
  static func share(_ bound: Int, of count: Int) -> Int { max(1, (bound + count - 1) / max(1, count)) }
}
