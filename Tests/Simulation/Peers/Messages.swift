/// Cuts a stream of typed Postgres messages, as slowly and plainly as possible: the model to compare the relay with.
package struct MessageSplitter {
  package struct Message {
    package let type: UInt8
    package let body: ArraySlice<UInt8>
    /// Where it ends in the stream.
    package let end: Int
  }

  private var bytes: [UInt8] = []
  private var position = 0
  private var dropped = 0

  package init() {}

  package mutating func append(_ more: UnsafeRawBufferPointer) {
    if position > 0 {
      bytes.removeFirst(position)
      dropped += position
      position = 0
    }
    bytes.append(contentsOf: more)
  }

  package mutating func next() -> Message? {
    guard bytes.count - position >= 5 else { return nil }
    let length = bytes[(position + 1)..<(position + 5)].reduce(0) { $0 << 8 | Int($1) }
    guard length >= 4, bytes.count - position >= length + 1 else { return nil }
    let start = position
    position += length + 1
    return Message(type: bytes[start], body: bytes[(start + 5)..<position], end: dropped + position)
  }

  /// All whole messages of a stream.
  package static func split(_ stream: [UInt8]) -> [Message] {
    var splitter = MessageSplitter()
    stream.withUnsafeBytes { splitter.append($0) }
    var messages: [Message] = []
    while let message = splitter.next() { messages.append(message) }
    return messages
  }
}

/// Messages of either side (PostgreSQL documentation, "Message Formats").
enum Say {
  static func message(_ type: Character, _ body: [UInt8] = []) -> [UInt8] {
    [type.asciiValue ?? 0] + word(UInt32(body.count + 4)) + body
  }

  static func word(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }
  static func text(_ text: String) -> [UInt8] { Array(text.utf8) + [0] }

  static func query(_ query: String) -> [UInt8] { message("Q", text(query)) }
  static let terminate = message("X")
  static let ready = message("Z", [UInt8(ascii: "I")])

  static func startup(_ pairs: [(String, String)]) -> [UInt8] {
    let body = word(3 << 16) + pairs.flatMap { text($0.0) + text($0.1) } + [0]
    return word(UInt32(body.count + 4)) + body
  }

  static func extended(_ query: String) -> [UInt8] {
    message("P", text("") + text(query) + [0, 0]) + message("B", text("") + text("") + [0, 0, 0, 0, 0, 0])
      + message("D", [UInt8(ascii: "P"), 0]) + message("E", text("") + word(0)) + message("S")
  }

  static func cancel(_ processID: UInt32, _ secret: [UInt8]) -> [UInt8] {
    word(UInt32(12 + secret.count)) + word(80_877_102) + word(processID) + secret
  }

  static let sslRequest = word(8) + word(80_877_103)

  static func row(_ value: [UInt8]) -> [UInt8] { message("D", [0, 1] + word(UInt32(value.count)) + value) }

  static func error(_ code: String, _ text: String, severity: String = "ERROR") -> [UInt8] {
    let fields: [(Character, String)] = [("S", severity), ("V", severity), ("C", code), ("M", text)]
    return message("E", fields.flatMap { [$0.0.asciiValue ?? 0] + Self.text($0.1) } + [0])
  }
}
