/// Bounds of the audit log's files and memory.
public struct AuditLogSettings: Sendable {
  /// Bytes after which a file is rotated away.
  public var maximumSize = 100 << 20
  /// Whether it also is when the UTC day changes.
  var rotatesDaily = true
  /// Rotated files that are kept.
  public var maximumFiles = 30
  /// Bytes of records that wait in memory while the file cannot be written.
  public var maximumBacklog = 10 << 20
  /// Events handed over and not yet formed into records.
  public var maximumWaiting = 50_000

  /// A record's line is never longer, in bytes: readers rely on it.
  static let longestRecord = 4 << 20

  public init() {}
}
