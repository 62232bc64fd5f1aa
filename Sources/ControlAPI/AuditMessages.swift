/// Answer of `GET /v1/audit/events`.
///
/// Asked with `from` and `to` (RFC 3339), `event` (comma-separated), `user`, `db`, `query_text` and `host` to choose
/// records, `limit` and `cursor` to go through them, or `tail` for the last ones. A page may be empty before the end is reached.
public struct AuditEvents: Codable, Sendable {
  /// Records as they are stored, each a JSON object; those of another host's log have a field `host_id` put first.
  public var records: [String]
  /// To be given as `cursor` for what follows, now or later.
  public var next: String
  public var isAtEnd: Bool

  enum CodingKeys: String, CodingKey {
    case records, next
    case isAtEnd = "at_end"
  }

  public init(records: [String], next: String, isAtEnd: Bool) {
    self.records = records
    self.next = next
    self.isAtEnd = isAtEnd
  }
}

/// Answer of `GET /v1/audit/verify`: of the Auth Service's own log, and of the copies of other hosts' logs.
public struct AuditCheck: Codable, Sendable {
  public var files: Int
  public var records: Int
  /// Numbers of the oldest and the newest record.
  public var first: Int?
  public var last: Int?
  /// Copies of hosts' logs, and the records in them.
  public var hosts = 0
  public var hostRecords = 0
  /// Empty if every record is there and unchanged; the first `maximumProblems`.
  public var problems: [String]

  public static let maximumProblems = 50

  public init(files: Int, records: Int, first: Int?, last: Int?, problems: [String]) {
    self.files = files
    self.records = records
    self.first = first
    self.last = last
    self.problems = problems
  }
}
