/// One parser, fed with any bytes. It must neither trap nor hang, and what it makes of them has to fit what a slower and
/// simpler reading makes of them.
struct FuzzTarget: Sendable {
  /// Names its folder in Tests/Fuzz/Corpus as well.
  let name: String
  /// Bytes of the longest input that is worth trying.
  let maximumLength: Int
  /// - Throws: `FuzzFinding` where two readings differ.
  let run: @Sendable (UnsafeRawBufferPointer) throws -> Void

  static let all = [
    startup, opening, clientHello, clientMessages, serverMessages, login, tunnel, statements, role, roleYAML,
    expression,
    pattern, lock, predicate, configuration, awsXML, awsJSON, credentials, sharedConfiguration, names, duration, api,
    certificate,
  ]
}

/// What must not be: two readings of the same bytes that differ, or a promise that is not kept.
struct FuzzFinding: Error, CustomStringConvertible {
  let description: String
}

/// - Throws: `FuzzFinding` with `complaint` unless `condition` holds.
func require(_ condition: Bool, _ complaint: @autoclosure () -> String) throws {
  guard condition else { throw FuzzFinding(description: complaint()) }
}

/// Whether `body` returned; what a parser throws is an answer like another.
func accepts(_ body: () throws -> Void) -> Bool { (try? body()) != nil }

/// Reads an input from its front: choices first, what is to be parsed behind them.
struct FuzzInput {
  private(set) var rest: UnsafeRawBufferPointer

  init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

  /// 0 at the end.
  mutating func byte() -> UInt8 {
    guard let byte = rest.first else { return 0 }
    rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst())
    return byte
  }

  /// Up to the next NUL, which is skipped, or to the end.
  mutating func field() -> UnsafeRawBufferPointer {
    let end = rest.firstIndex(of: 0) ?? rest.endIndex
    defer { rest = UnsafeRawBufferPointer(rebasing: rest[min(end + 1, rest.endIndex)...]) }
    return UnsafeRawBufferPointer(rebasing: rest[..<end])
  }

  /// As above, as text; `nil` if it is not UTF-8.
  mutating func text() -> String? { String(validating: field(), as: UTF8.self) }

  /// All that is left, as text.
  var restText: String? { String(validating: rest, as: UTF8.self) }
}

/// Cuts a stream into chunks, as a network would. The same seed cuts at the same places.
struct ChunkCutter {
  private var state: UInt32
  private var rest: UnsafeRawBufferPointer

  init(_ stream: UnsafeRawBufferPointer, seed: UInt8) {
    rest = stream
    state = UInt32(seed) &* 0x9e37_79b9 | 1
  }

  /// Mostly a few bytes, now and then many. `nil` at the end.
  mutating func next() -> UnsafeRawBufferPointer? {
    guard !rest.isEmpty else { return nil }
    state ^= state << 13
    state ^= state >> 17
    state ^= state << 5
    let count = state & 7 == 0 ? Int(state >> 24) + 1 : Int(state >> 29) + 1
    defer { rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count)) }
    return UnsafeRawBufferPointer(rebasing: rest.prefix(count))
  }
}
