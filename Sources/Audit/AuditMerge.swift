import Foundation

/// A log among several, with the host it is of.
public struct HostLog: Sendable {
  /// `nil` for the reader's own log.
  public var host: String?
  /// The current file.
  public var path: String

  public init(host: String?, path: String) {
    self.host = host
    self.path = path
  }
}

/// Reads several hosts' logs as one, in the order of the records' times. Blocking; each call does a bounded amount of work.
public struct AuditMerge: Sendable {
  /// Records of several logs; those of other hosts begin with the field `host_id`.
  public struct Page: Sendable {
    public var lines: [String] = []
    public var next: Cursor
    /// Whether the logs had no more records when the page was made.
    public var isAtEnd = false
  }

  /// A place in each of the logs. A log that it does not name is read from its beginning.
  public struct Cursor: Sendable, CustomStringConvertible {
    fileprivate var places: [String: AuditCursor] = [:]

    fileprivate init() {}

    /// Reads `FILE.OFFSET[.HOST]~...`.
    public init?(_ text: String) {
      for item in text.split(separator: "~") {
        let parts = item.split(separator: ".", maxSplits: 2)
        guard parts.count >= 2, let place = AuditCursor("\(parts[0]).\(parts[1])") else { return nil }
        places[parts.count == 3 ? String(parts[2]) : ""] = place
      }
      guard !places.isEmpty else { return nil }
    }

    public var description: String {
      places.sorted { $0.key < $1.key }.map { $0.key.isEmpty ? "\($0.value)" : "\($0.value).\($0.key)" }
        .joined(separator: "~")
    }
  }

  private let logs: [HostLog]

  public init(_ logs: [HostLog]) { self.logs = logs }

  /// Records that match `query`, from `cursor` or the oldest ones on.
  public func page(_ query: AuditQuery, from cursor: Cursor?, limit: Int) throws -> Page {
    let limit = min(max(1, limit), AuditReader.maximumRecords)
    var page = Page(next: cursor ?? Cursor())
    // Together about as many as are wanted, so that memory does not grow with the number of logs.
    let portion = max(16, 2 * limit / max(1, logs.count))
    let scan = max(1, AuditReader.maximumScan / max(1, logs.count))
    var streams = logs.map { Stream($0, cursor?.places[$0.host ?? ""], portion: portion, scan: scan) }
    var budget = logs.count + Self.maximumReads
    var bytes = 0
    merging: while page.lines.count < limit, bytes < AuditReader.maximumPageBytes {
      var earliest: Int?
      for index in streams.indices {
        if streams[index].isEmpty, !streams[index].isAtEnd {
          guard budget > 0 else { break merging }
          budget -= 1
          try streams[index].fill(query)
          // It looked as far as one call may and found nothing: nobody knows yet what comes first.
          if streams[index].isEmpty, !streams[index].isAtEnd { break merging }
        }
        guard let time = streams[index].time else { continue }
        if let known = earliest, let other = streams[known].time, !(time < other) { continue }
        earliest = index
      }
      guard let earliest else {
        page.isAtEnd = true
        break
      }
      let line = streams[earliest].take()
      bytes += line.utf8.count
      page.lines.append(line)
    }
    for stream in streams { if let place = stream.place { page.next.places[stream.log.host ?? ""] = place } }
    return page
  }

  /// Calls for more records of one log, beside the first of each.
  private static let maximumReads = 64

  /// The last `count` records that match, oldest first, and the end of the logs as the place to go on from.
  public func tail(_ query: AuditQuery, count: Int) throws -> Page {
    var page = Page(next: Cursor(), isAtEnd: true)
    var found: [(time: String, line: String)] = []
    for log in logs {
      let part = try AuditReader(path: log.path).tail(query, count: count)
      page.next.places[log.host ?? ""] = part.next
      // Sorting is not stable by promise: records of one log keep their order by their place.
      let records = part.lines.map { (time: Self.time(of: $0), line: Self.marked($0, log.host)) }
      found = Array(Self.merged(found, records).suffix(min(max(0, count), AuditReader.maximumRecords)))
    }
    page.lines = found.map(\.line)
    return page
  }

  private static func merged(
    _ one: [(time: String, line: String)], _ other: [(time: String, line: String)]
  ) -> [(time: String, line: String)] {
    var result: [(time: String, line: String)] = []
    result.reserveCapacity(one.count + other.count)
    var (left, right) = (one[...], other[...])
    while let first = left.first, let second = right.first {
      result.append(second.time < first.time ? right.removeFirst() : left.removeFirst())
    }
    return result + left + right
  }

  fileprivate static func time(of line: String) -> String {
    var line = line
    return line.withUTF8 { bytes in
      LineFilter.value(of: LineFilter.timeKey, in: UnsafeRawBufferPointer(bytes))
        .map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
  }

  fileprivate static func marked(_ line: String, _ host: String?) -> String {
    guard let host else { return line }
    var field = JSONText()
    field.append("{")
    field.field("host_id", host)
    return String(decoding: field.bytes, as: UTF8.self) + line.dropFirst()
  }

  /// One log on its way into a page.
  private struct Stream {
    let log: HostLog
    private let portion: Int
    private let scan: Int
    private var waiting: ArraySlice<String> = []
    private var ends: ArraySlice<AuditCursor> = []
    private(set) var isAtEnd = false
    /// The place behind the last record that was taken.
    private(set) var place: AuditCursor?
    /// The time of the record that comes next.
    private(set) var time: String?
    private var afterPart: AuditCursor?

    init(_ log: HostLog, _ place: AuditCursor?, portion: Int, scan: Int) {
      self.log = log
      self.scan = scan
      self.portion = portion
      (self.place, afterPart) = (place, place)
    }

    var isEmpty: Bool { waiting.isEmpty }

    mutating func fill(_ query: AuditQuery) throws {
      let part = try AuditReader(path: log.path).page(query, from: afterPart, limit: portion, scan: scan)
      (waiting, ends, afterPart, isAtEnd) = (part.lines[...], part.ends[...], part.next, part.isAtEnd)
      if waiting.isEmpty { place = part.next }
      time = waiting.first.map(AuditMerge.time)
    }

    mutating func take() -> String {
      let line = AuditMerge.marked(waiting.removeFirst(), log.host)
      // With the last of a part also what was looked at behind it is done.
      let end = ends.removeFirst()
      place = waiting.isEmpty ? afterPart : end
      time = waiting.first.map(AuditMerge.time)
      return line
    }
  }
}
