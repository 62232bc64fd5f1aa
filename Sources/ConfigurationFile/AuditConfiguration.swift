import Foundation

/// `auth_service.audit`: the audit log's files.
public struct AuditLogConfiguration: Sendable {
  /// Bytes after which the file is rotated.
  public var maximumSize = 100 << 20
  /// Rotated files that are kept.
  public var maximumFiles = 30
  /// Bytes of another host's log that are kept, and of all such logs.
  public var maximumHostSize = 1 << 30
  public var maximumHostsSize = 20 << 30

  public init() {}

  init(_ section: YAMLSection) throws {
    try section.allow(["max_size", "max_files", "host_max_size", "hosts_max_size"])
    maximumSize = try section.size("max_size", in: 1 << 20...1 << 40) ?? maximumSize
    if let text = try section.string("max_files") {
      guard let count = Int(text), (1...100_000).contains(count) else {
        throw section.complaint("max_files", "must be a number from 1 to 100000")
      }
      maximumFiles = count
    }
    maximumHostSize = try section.size("host_max_size", in: 1 << 20...1 << 40) ?? maximumHostSize
    maximumHostsSize = try section.size("hosts_max_size", in: 1 << 20...1 << 50) ?? maximumHostsSize
  }
}

/// `db_service.audit`: what is recorded of sessions, and what happens when that cannot be kept up.
public struct QueryAuditConfiguration: Sendable {
  /// `off`, `statements` or `protocol`.
  public var queries = "statements"
  public var includesParameters = false
  /// Bytes of a statement that are kept.
  public var maximumQuery = 8 << 10
  /// Whether a session ends rather than go on unrecorded.
  public var isStrict = false
  /// Bytes that may wait on each reactor.
  public var queueSize = 4 << 20

  public init() {}

  init(_ section: YAMLSection) throws {
    try section.allow(["queries", "parameters", "max_query_size", "mode", "queue_size"])
    if let text = try section.string("queries") {
      // Unquoted, YAML 1.1 reads `off` as a boolean; here it is the word either way.
      queries = ["no", "false"].contains(text.lowercased()) ? "off" : text
      guard ["off", "statements", "protocol"].contains(queries) else {
        throw section.complaint("queries", "must be off, statements or protocol")
      }
    }
    includesParameters = try section.bool("parameters") ?? false
    maximumQuery = try section.size("max_query_size", in: 256...256 << 10) ?? maximumQuery
    if let mode = try section.string("mode") {
      guard ["best_effort", "strict"].contains(mode) else {
        throw section.complaint("mode", "must be best_effort or strict")
      }
      isStrict = mode == "strict"
    }
    queueSize = try section.size("queue_size", in: 1 << 20...1 << 30) ?? queueSize
  }
}

extension YAMLSection {
  /// A number of bytes, with KiB, MiB or GiB behind it if wanted.
  func size(_ key: String, in range: ClosedRange<Int>) throws -> Int? {
    guard let text = try string(key) else { return nil }
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
    let unit = units.first { text.hasSuffix($0.0) }
    let digits = text.dropLast(unit?.0.count ?? 0).trimmingCharacters(in: .whitespaces)
    guard let number = Int(digits) else { throw complaint(key, "must be a size such as 8KiB or 100MiB") }
    let (bytes, overflow) = number.multipliedReportingOverflow(by: unit?.1 ?? 1)
    guard !overflow, range.contains(bytes) else {
      throw complaint(key, "must be from \(range.lowerBound) to \(range.upperBound) bytes")
    }
    return bytes
  }
}
