/// Follows message boundaries through a byte stream without copying it.
///
/// Only the five bytes of a header that a chunk boundary cuts are kept. The scanner checks that each message has a type
/// of its direction and a plausible length; bodies are skipped unseen. One per direction; a value type without
/// allocations, for the relay's hot path.
public struct MessageScanner: Sendable {
  /// Which end wrote the stream.
  public enum Side: Sendable { case frontend, backend }

  /// What a chunk contained.
  public struct Scan: Sendable {
    /// Offset just behind a complete Terminate message, whose length is `terminateLength`, if one was seen: what follows
    /// is not to be relayed.
    public var terminateEnd: Int?
  }

  /// PostgreSQL's PQ_LARGE_MESSAGE_LIMIT: no message is longer, in bytes.
  public static let largeLimit: UInt32 = 0x3fff_fffe
  /// PostgreSQL's PQ_SMALL_MESSAGE_LIMIT for frontend messages that carry only a name or a flag.
  public static let smallLimit: UInt32 = 10_000

  /// Bytes of a Terminate message.
  public static let terminateLength = 5

  private let side: Side
  private var bodyRemaining = 0
  private var headerCount = 0
  private var headerType: UInt8 = 0
  private var headerLength: UInt32 = 0

  /// Type byte of the latest message whose header is complete; 0 before the first.
  public private(set) var lastType: UInt8 = 0

  /// Query cycles so far. Frontend: requests that ReadyForQuery will answer (Query, Sync, FunctionCall); backend:
  /// ReadyForQuery messages. Equal counts mean that nothing is under way; a Sync that the database ignores during COPY
  /// makes them differ, which errs on the side of "something is".
  public private(set) var cycles: UInt64 = 0
  /// The status byte of the latest ReadyForQuery: `I` outside a transaction, `T` or `E` within one.
  public private(set) var transactionStatus: UInt8?
  /// After `scan` threw: how many bytes of that chunk come before the message it threw at. They may be relayed still,
  /// and `isAtMessageBoundary` tells where that leaves the peer.
  public private(set) var acceptedPrefix = 0

  public init(side: Side) { self.side = side }

  /// Whether the bytes so far end with a complete message.
  public var isAtMessageBoundary: Bool { bodyRemaining == 0 && headerCount == 0 }

  /// What a backend does, as its stream tells.
  public enum BackendState: Sendable { case readyForQuery, copyingIn, answering }

  /// Of a backend's stream: where it stands. Messages that come unasked (ParameterStatus, NoticeResponse,
  /// NotificationResponse) change nothing.
  public private(set) var backendState = BackendState.readyForQuery

  /// Walks over the next bytes of the stream.
  ///
  /// - Throws: `WireError` 08P01 for a type that the direction does not know or a length outside the type's bounds.
  public mutating func scan(_ chunk: UnsafeRawBufferPointer) throws(WireError) -> Scan {
    var result = Scan()
    var position = 0
    let end = chunk.count
    while position < end {
      if bodyRemaining > 0 {
        if lastType == UInt8(ascii: "Z") { transactionStatus = chunk[position] }
        let skipped = min(bodyRemaining, end - position)
        position += skipped
        bodyRemaining -= skipped
      } else if headerCount == 0, end - position >= 5 {
        let length = UInt32(bigEndian: chunk.loadUnaligned(fromByteOffset: position + 1, as: UInt32.self))
        acceptedPrefix = position
        try begin(chunk[position], length)
        position += 5
      } else {
        if headerCount == 0 {
          headerType = chunk[position]
        } else {
          headerLength = headerLength << 8 | UInt32(chunk[position])
        }
        headerCount += 1
        position += 1
        guard headerCount == 5 else { continue }
        // What an earlier chunk held of this header has been relayed: on failure the peer stays within a message.
        acceptedPrefix = 0
        try begin(headerType, headerLength)
        headerCount = 0
        headerLength = 0
      }
      if bodyRemaining == 0, headerCount == 0, lastType == UInt8(ascii: "X"), side == .frontend {
        result.terminateEnd = position
        return result
      }
    }
    return result
  }

  @inline(__always)
  private mutating func begin(_ type: UInt8, _ length: UInt32) throws(WireError) {
    let limit = side == .frontend ? Self.frontendLimit(type) : Self.backendLimit(type)
    guard limit > 0 else { throw WireError(.protocolViolation, "unknown message type \(type)") }
    // A ReadyForQuery is a status and nothing else: of a longer one, chunks would decide which byte counts.
    guard length >= (type == UInt8(ascii: "Z") ? 5 : 4), length <= limit else {
      throw WireError(.protocolViolation, "message of type \(type) has an invalid length")
    }
    lastType = type
    if side == .frontend ? Self.beginsCycle(type) : type == UInt8(ascii: "Z") { cycles &+= 1 }
    bodyRemaining = Int(length) - 4
    if side == .backend { noteState(type) }
  }

  @inline(__always)
  private mutating func noteState(_ type: UInt8) {
    switch type {
    case UInt8(ascii: "Z"): backendState = .readyForQuery
    case UInt8(ascii: "G"), UInt8(ascii: "W"): backendState = .copyingIn
    case UInt8(ascii: "S"), UInt8(ascii: "N"), UInt8(ascii: "A"): break
    default: backendState = .answering
    }
  }

  /// Whether ReadyForQuery answers a frontend message of that type.
  @inline(__always)
  public static func beginsCycle(_ type: UInt8) -> Bool {
    type == UInt8(ascii: "Q") || type == UInt8(ascii: "S") || type == UInt8(ascii: "F")
  }

  /// The greatest length of a frontend message; 0 for types that may not come after the login.
  @inline(__always)
  private static func frontendLimit(_ type: UInt8) -> UInt32 {
    switch type {
    case UInt8(ascii: "Q"), UInt8(ascii: "P"), UInt8(ascii: "B"), UInt8(ascii: "d"), UInt8(ascii: "F"):
      largeLimit
    case UInt8(ascii: "E"), UInt8(ascii: "D"), UInt8(ascii: "C"), UInt8(ascii: "S"), UInt8(ascii: "H"),
      UInt8(ascii: "c"), UInt8(ascii: "f"):
      smallLimit
    // Without a body, so that it is known where it begins.
    case UInt8(ascii: "X"): 4
    default: 0
    }
  }

  /// The greatest length of a backend message; 0 for unknown types. Authentication is over, so `R` and `K` are unknown.
  @inline(__always)
  private static func backendLimit(_ type: UInt8) -> UInt32 {
    switch type {
    case UInt8(ascii: "D"), UInt8(ascii: "d"), UInt8(ascii: "T"), UInt8(ascii: "t"), UInt8(ascii: "E"),
      UInt8(ascii: "N"), UInt8(ascii: "A"), UInt8(ascii: "V"):
      largeLimit
    case UInt8(ascii: "Z"): 5
    case UInt8(ascii: "C"), UInt8(ascii: "S"), UInt8(ascii: "1"), UInt8(ascii: "2"),
      UInt8(ascii: "3"), UInt8(ascii: "n"), UInt8(ascii: "s"), UInt8(ascii: "I"), UInt8(ascii: "c"),
      UInt8(ascii: "G"), UInt8(ascii: "H"), UInt8(ascii: "W"):
      65_536
    default: 0
    }
  }
}
