import PostgresWire

/// The answer to a query of the pool's own, which no client sees: how it ended, and what it changed in the parameters.
struct QuietQuery {
  enum Outcome: Equatable {
    case underway
    /// It succeeded and the database is ready outside a transaction.
    case succeeded
    case failed(String)
  }

  private var walker = MessageWalker()
  private var error: [UInt8] = []
  private var tag = CommandTag()
  /// Whether it has left no prepared statement.
  private(set) var dropsStatements = false
  private static let maximumError = 1024

  /// Takes the next bytes of the database.
  mutating func take(_ bytes: UnsafeRawBufferPointer, _ parameters: inout ParameterBook) -> Outcome {
    var position = 0
    while let part = walker.next(bytes, &position) {
      switch part.type {
      case UInt8(ascii: "S"): parameters.note(part)
      case UInt8(ascii: "E"):
        error.append(contentsOf: part.bytes.prefix(Self.maximumError - error.count))
        if part.isLast { return .failed(ErrorResponse(body: error).message ?? "an error without a message") }
      case UInt8(ascii: "Z"):
        guard part.isLast else { continue }
        guard part.bytes.first == UInt8(ascii: "I"), position == bytes.count else {
          return .failed("the database is not ready after it")
        }
        return .succeeded
      case UInt8(ascii: "C"): if tag.isOfDroppedStatements(part) { dropsStatements = true }
      // EmptyQueryResponse, rows of a SELECT, notices and notifications.
      case UInt8(ascii: "I"), UInt8(ascii: "T"), UInt8(ascii: "D"), UInt8(ascii: "N"),
        UInt8(ascii: "A"):
        break
      default: return .failed("it is answered as no plain query is")
      }
    }
    return .underway
  }
}
