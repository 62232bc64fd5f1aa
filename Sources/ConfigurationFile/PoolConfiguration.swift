import AccessControl
import ControlAPI

/// `pool` of a database: how its server connections outlive their clients. What is `nil` is left to the built-in value.
public struct PoolConfiguration: Sendable, Equatable {
  /// `session` or `transaction`.
  public var mode: String
  public var size: Int?
  public var databaseSize: Int?
  /// Whole seconds, here and below.
  public var idleTimeout: Int?
  public var lifetime: Int?
  public var resetQuery: String?
  public var resetsAlways: Bool?
  public var checkDelay: Int?
  public var waitTimeout: Int?
  public var maximumWaiting: Int?
  public var maximumStatements: Int?

  init(_ section: YAMLSection) throws {
    try section.allow(DatabaseResource.Pool.keys)
    mode = try section.string("mode") ?? ""
    size = try Self.number("pool_size", section)
    databaseSize = try Self.number("max_db_connections", section)
    idleTimeout = try Self.seconds("server_idle_timeout", section)
    lifetime = try Self.seconds("server_lifetime", section)
    // An empty text asks for no reset; nothing at all does not.
    resetQuery = try section.text("server_reset_query")
    resetsAlways = try section.bool("server_reset_query_always")
    checkDelay = try Self.seconds("server_check_delay", section)
    waitTimeout = try Self.seconds("query_wait_timeout", section)
    maximumWaiting = try Self.number("max_waiting_clients", section)
    maximumStatements = try Self.number("max_prepared_statements", section)
    if let problem { throw section.complaint(problem.key, problem.text) }
  }

  init(_ pool: DatabaseResource.Pool) throws {
    mode = pool.mode
    (size, databaseSize) = (pool.size, pool.databaseSize)
    idleTimeout = pool.idleTimeout?.seconds
    lifetime = pool.lifetime?.seconds
    (resetQuery, resetsAlways) = (pool.resetQuery, pool.resetsAlways)
    checkDelay = pool.checkDelay?.seconds
    waitTimeout = pool.waitTimeout?.seconds
    (maximumWaiting, maximumStatements) = (pool.maximumWaiting, pool.maximumStatements)
    if let problem { throw RoleError("'\(problem.key)' \(problem.text)", at: ["spec", "pool", problem.key]) }
  }

  private static let counts = 1...10_000
  private static let durations = 1...86_400
  private static let maximumQuery = 1000

  /// The first thing that is wrong, and where.
  private var problem: (key: String, text: String)? {
    guard ["session", "transaction"].contains(mode) else { return ("mode", "must be session or transaction") }
    for (key, value) in [
      ("pool_size", size), ("max_db_connections", databaseSize), ("max_waiting_clients", maximumWaiting),
      ("max_prepared_statements", maximumStatements),
    ] {
      if let value, !Self.counts.contains(value) { return (key, "must be from 1 to \(Self.counts.upperBound)") }
    }
    for (key, value) in [
      ("server_idle_timeout", idleTimeout), ("server_lifetime", lifetime), ("query_wait_timeout", waitTimeout),
    ] {
      if let value, !Self.durations.contains(value) { return (key, "must be from 1s to 24h") }
    }
    if let checkDelay, !(0...Self.durations.upperBound).contains(checkDelay) {
      return ("server_check_delay", "must be from 0s to 24h")
    }
    if let resetQuery, resetQuery.utf8.count > Self.maximumQuery || resetQuery.utf8.contains(0) {
      return ("server_reset_query", "is longer than \(Self.maximumQuery) bytes or holds a NUL byte")
    }
    return nil
  }

  private static func number(_ key: String, _ section: YAMLSection) throws -> Int? {
    guard let text = try section.string(key) else { return nil }
    guard let number = Int(text) else { throw section.complaint(key, "must be a number") }
    return number
  }

  private static func seconds(_ key: String, _ section: YAMLSection) throws -> Int? {
    guard let text = try section.string(key) else { return nil }
    guard let duration = GoDuration(text) else {
      throw section.complaint(key, "must be a duration such as 90s, 10m or 1h")
    }
    return duration.seconds
  }
}
