import Gateway
import PostgresWire

/// One request of a client, from its arrival to its outcome.
struct Operation {
  enum Kind: UInt8 {
    case query = 0x51
    case parse = 0x50
    case bind = 0x42
    case execute = 0x45
    case close = 0x43
    case describe = 0x44
    case sync = 0x53
    case functionCall = 0x46
  }

  enum Outcome {
    case succeeded
    case failed(ErrorResponse)
    /// The database has not answered (yet).
    case unknown
  }

  let kind: Kind
  /// Monotonic milliseconds.
  let time: UInt64
  let bodyLength: Int
  /// The beginning of the message's body.
  var body: [UInt8]
  /// All of the message that is kept has arrived.
  var isComplete = false
  /// It has a record already, written before its outcome was known.
  var isWritten = false

  init?(_ entry: QueryRing.Entry, _ bytes: UnsafeRawBufferPointer) {
    guard let kind = Kind(rawValue: entry.type) else { return nil }
    self.kind = kind
    time = entry.time
    bodyLength = Int(entry.bodyLength)
    body = Array(bytes)
  }

  /// Ended by a ReadyForQuery rather than by an acknowledgement of its own.
  var endsWithReady: Bool {
    switch kind {
    case .query, .sync, .functionCall: true
    default: false
    }
  }
}
