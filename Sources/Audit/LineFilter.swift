import Foundation
import Glibc

/// Decides about stored lines by their bytes.
///
/// In a line the text `"user":"alice"` with its bare quotes can only be a field, for inside a value every quote is
/// escaped; nested objects are the one exception, so that what matches is parsed and looked at again.
struct LineFilter {
  private let query: AuditQuery
  private let from: [UInt8]?
  private let to: [UInt8]?
  private let alternatives: [[UInt8]]
  private let required: [[UInt8]]
  private let queryText: [UInt8]?

  init(_ query: AuditQuery) {
    self.query = query
    from = query.from.map(Self.stamp)
    to = query.to.map(Self.stamp)
    alternatives = query.events.map { Self.field("event", $0) }
    required = [query.user.map { Self.field("user", $0) }, query.database.map { Self.field("db_service", $0) }]
      .compactMap { $0 }
    queryText = query.queryText.map { text in
      var escaped = JSONText()
      var text = text
      text.withUTF8 { escaped.escaped(UnsafeRawBufferPointer($0)) }
      return escaped.bytes.map(Self.lower)
    }
  }

  /// Whether a file that was last changed then has nothing of interest.
  func skips(fileChangedAt time: time_t) -> Bool {
    guard let from = query.from else { return false }
    // A minute's grace for clocks that were set.
    return Double(time) < from.timeIntervalSince1970 - 60
  }

  func matches(_ line: UnsafeRawBufferPointer) -> Bool {
    if from != nil || to != nil {
      guard let time = Self.value(of: Self.timeKey, in: line) else { return false }
      if let from, time.lexicographicallyPrecedes(from) { return false }
      if let to, to.lexicographicallyPrecedes(time) { return false }
    }
    guard alternatives.isEmpty || alternatives.contains(where: { Self.position(of: $0, in: line) != nil }),
      required.allSatisfy({ Self.position(of: $0, in: line) != nil })
    else { return false }
    if let queryText {
      guard let value = Self.value(of: Self.queryKey, in: line) ?? Self.value(of: Self.parseKey, in: line),
        Self.contains(queryText, in: value)
      else { return false }
    }
    return required.isEmpty || isConfirmed(line)
  }

  private func isConfirmed(_ line: UnsafeRawBufferPointer) -> Bool {
    guard let record = try? JSONSerialization.jsonObject(with: Data(line)) as? [String: Any] else { return false }
    return (query.user == nil || record["user"] as? String == query.user)
      && (query.database == nil || record["db_service"] as? String == query.database)
  }

  // MARK: Bytes

  static let timeKey = Array("\"time\":\"".utf8)
  private static let queryKey = Array("\"db_query\":\"".utf8)
  private static let parseKey = Array("\"query\":\"".utf8)

  private static func stamp(_ date: Date) -> [UInt8] {
    var text = JSONText()
    var clock = RecordClock()
    clock.append(Int64((min(max(date.timeIntervalSince1970, 0), 1e11) * 1000).rounded()), to: &text)
    return text.bytes
  }

  private static func field(_ name: StaticString, _ value: String) -> [UInt8] {
    var text = JSONText()
    text.field(name, value)
    return text.bytes.dropLast()
  }

  /// The bytes between the quotes behind `key`.
  static func value(of key: [UInt8], in line: UnsafeRawBufferPointer) -> Slice<UnsafeRawBufferPointer>? {
    guard let start = position(of: key, in: line).map({ $0 + key.count }) else { return nil }
    var end = start
    while end < line.count, line[end] != UInt8(ascii: "\"") { end += line[end] == UInt8(ascii: "\\") ? 2 : 1 }
    return line[start..<min(end, line.count)]
  }

  static func position(of needle: [UInt8], in line: UnsafeRawBufferPointer) -> Int? {
    guard let first = needle.first, let base = line.baseAddress else { return nil }
    var position = 0
    while position + needle.count <= line.count {
      guard let hit = memchr(base + position, Int32(first), line.count - needle.count - position + 1) else {
        return nil
      }
      position = hit - UnsafeMutableRawPointer(mutating: base)
      if memcmp(hit, needle, needle.count) == 0 { return position }
      position += 1
    }
    return nil
  }

  /// - Parameter needle: in lower case.
  private static func contains(_ needle: [UInt8], in text: Slice<UnsafeRawBufferPointer>) -> Bool {
    guard let first = needle.first else { return true }
    var position = text.startIndex
    while position + needle.count <= text.endIndex {
      if lower(text[position]) == first, needle.indices.allSatisfy({ lower(text[position + $0]) == needle[$0] }) {
        return true
      }
      position += 1
    }
    return false
  }

  private static func lower(_ byte: UInt8) -> UInt8 {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
  }
}
