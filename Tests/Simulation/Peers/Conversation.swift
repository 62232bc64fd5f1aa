/// One thing a client asks of a database.
package enum Request: Sendable {
  case rows(Int, size: Int)
  case extended(Int, size: Int)
  case error
  case copyIn(Int, size: Int)
  case copyOut(Int, size: Int)
  /// Several queries in one go.
  case pipeline(Int)
  /// Takes until it is cancelled, or 20 s.
  case sleep

  /// What the client sends at once.
  package var bytes: [UInt8] {
    switch self {
    case .rows(let count, let size): Say.query("rows \(count) \(size)")
    case .extended(let count, let size): Say.extended("rows \(count) \(size)")
    case .error: Say.query("error")
    case .copyIn: Say.query("copyin")
    case .copyOut(let count, let size): Say.query("copyout \(count) \(size)")
    case .pipeline(let count): (0..<count).flatMap { Say.query("rows 1 \($0)") }
    case .sleep: Say.query("sleep")
    }
  }

  /// ReadyForQuery messages that answer it.
  package var cycles: Int { if case .pipeline(let count) = self { count } else { 1 } }

  /// What the client sends once the database asks for COPY data.
  package var copyData: [UInt8] {
    guard case .copyIn(let count, let size) = self else { return [] }
    return (0..<count).flatMap { Say.message("d", Pattern.bytes($0, size)) } + Say.message("c")
  }
}

enum Pattern {
  /// Bytes that tell where they belong.
  static func bytes(_ seed: Int, _ size: Int) -> [UInt8] {
    var state = UInt32(truncatingIfNeeded: seed &* 2_654_435_761) | 1
    return (0..<size).map { _ in
      state = state &* 1_664_525 &+ 1_013_904_223
      return UInt8(truncatingIfNeeded: state >> 24)
    }
  }
}

/// What a database answers to the messages of one session: the same for the same messages, whenever they come.
struct Answers {
  /// How it stands after a message.
  enum Step {
    case answer([UInt8])
    case sleep, terminate
  }

  private let session: Int
  private var copied = 0
  private var isCopying = false

  init(session: Int) { self.session = session }

  mutating func answer(_ message: MessageSplitter.Message) -> Step {
    switch message.type {
    case UInt8(ascii: "Q"):
      let words = String(decoding: message.body.dropLast(), as: UTF8.self).split(separator: " ").map(String.init)
      return query(words.first ?? "", words.dropFirst().compactMap { Int($0) })
    case UInt8(ascii: "P"):
      return .answer(Say.message("1"))
    case UInt8(ascii: "B"): return .answer(Say.message("2"))
    case UInt8(ascii: "D"): return .answer(Say.message("n"))
    case UInt8(ascii: "E"): return .answer(rows(3, 40) + Say.message("C", Say.text("SELECT 3")))
    case UInt8(ascii: "S"): return .answer(isCopying ? [] : Say.ready)
    case UInt8(ascii: "d"):
      copied += message.body.count
      return .answer([])
    case UInt8(ascii: "c"):
      isCopying = false
      return .answer(Say.message("C", Say.text("COPY \(copied)")) + Say.ready)
    case UInt8(ascii: "X"): return .terminate
    default: return .answer(Say.error("08P01", "unknown message"))
    }
  }

  private mutating func query(_ verb: String, _ numbers: [Int]) -> Step {
    let (count, size) = (numbers.first ?? 1, numbers.dropFirst().first ?? 1)
    switch verb {
    case "rows": return .answer(rows(count, size) + Say.message("C", Say.text("SELECT \(count)")) + Say.ready)
    case "error": return .answer(Say.error("42P01", "no such table") + Say.ready)
    case "copyin":
      isCopying = true
      copied = 0
      return .answer(Say.message("G", [0, 0, 0]))
    case "copyout":
      let data = (0..<count).flatMap { Say.message("d", Pattern.bytes(session &* 31 &+ $0, size)) }
      return .answer(
        Say.message("H", [0, 0, 0]) + data + Say.message("c") + Say.message("C", Say.text("COPY \(count)")) + Say.ready)
    case "sleep": return .sleep
    default: return .answer(Say.error("42601", "syntax error") + Say.ready)
    }
  }

  private func rows(_ count: Int, _ size: Int) -> [UInt8] {
    (0..<count).flatMap { Say.row(Pattern.bytes(session &* 1009 &+ $0, size)) }
  }
}
