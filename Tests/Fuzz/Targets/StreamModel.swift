/// The framing of PostgreSQL's messages again, over a stream that is there as a whole: index by index, as the
/// documentation says it ("Message Formats"), without a thought of speed.
struct StreamModel {
  struct Message: Equatable {
    let type: UInt8
    let body: [UInt8]
  }

  private(set) var messages: [Message] = []
  /// Where the first header begins that no message may have.
  private(set) var violation: Int?
  /// Where the messages end: behind them is a part of one, a violation, or what follows a Terminate.
  private(set) var end = 0
  /// Types of all headers that are complete, the unfinished message's included.
  private(set) var headers: [UInt8] = []

  /// - Parameters:
  ///   - limits: lengths that each type may declare; other types are violations.
  ///   - stop: the type that nothing may follow.
  init(_ stream: [UInt8], limits: (UInt8) -> ClosedRange<Int>?, stop: UInt8? = nil) {
    while end + 5 <= stream.count {
      let type = stream[end]
      let length =
        Int(stream[end + 1]) << 24 | Int(stream[end + 2]) << 16 | Int(stream[end + 3]) << 8 | Int(stream[end + 4])
      guard let range = limits(type), range.contains(length) else {
        violation = end
        return
      }
      headers.append(type)
      guard end + 1 + length <= stream.count else { return }
      messages.append(Message(type: type, body: Array(stream[end + 5..<end + 1 + length])))
      end += 1 + length
      if type == stop { return }
    }
  }
}
