/// Follows where messages end in what the cluster sends, from the first authentication request on.
///
/// Unlike `MessageScanner` it judges nothing: the gateway has judged these bytes already, and this side only has to know
/// whether a message of its own may be put between them.
struct MessageBoundary {
  private var header = 0
  private var length: UInt32 = 0
  private var bodyRemaining = 0

  /// Whether the bytes so far end with a complete message.
  var isAtBoundary: Bool { header == 0 && bodyRemaining == 0 }

  mutating func scan(_ chunk: UnsafeRawBufferPointer) {
    var position = 0
    while position < chunk.count {
      if bodyRemaining > 0 {
        let skipped = min(bodyRemaining, chunk.count - position)
        position += skipped
        bodyRemaining -= skipped
        continue
      }
      // A type byte, then four of length, which count themselves.
      if header > 0 { length = length << 8 | UInt32(chunk[position]) }
      header += 1
      position += 1
      guard header == 5 else { continue }
      bodyRemaining = Int(max(length, 4)) - 4
      header = 0
      length = 0
    }
  }
}
