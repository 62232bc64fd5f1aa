import PostgresWire

/// Reads the tags of CommandComplete messages, however chunks cut them, for those that concern a pool.
struct CommandTag {
  private var bytes: [UInt8] = []

  /// All prepared statements of the session are gone after these.
  private static let dropping = [Array("DISCARD ALL\0".utf8), Array("DEALLOCATE ALL\0".utf8)]
  private static let maximumLength = 16

  /// Takes one part of a CommandComplete. Returns whether it is the last one of a command that drops them.
  mutating func isOfDroppedStatements(_ part: MessageWalker.Part) -> Bool {
    // Most tags begin otherwise, and nothing is copied for them.
    if part.isFirst, part.isLast {
      return part.bytes.first == UInt8(ascii: "D") && Self.dropping.contains { $0.elementsEqual(part.bytes) }
    }
    if part.isFirst { bytes.removeAll() }
    bytes.append(contentsOf: part.bytes.prefix(Self.maximumLength - bytes.count))
    return part.isLast && Self.dropping.contains(bytes)
  }
}
