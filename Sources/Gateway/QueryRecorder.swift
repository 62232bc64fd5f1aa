import PostgresWire

/// Copies what is needed to account for one session's statements into its reactor's ring.
///
/// From the client: the beginnings of Query, Parse, Bind, Execute, Describe, Close and FunctionCall, and every Sync.
/// From the database: errors, and at each ReadyForQuery how many operations were acknowledged. Rows and COPY data are
/// walked over. A value type; calls neither allocate nor lock.
struct QueryRecorder {
  private let ring: QueryRing
  private let session: UInt64
  private let queryLimit: Int
  private let valueLimit: Int
  private let isStrict: Bool

  private var names = NameWatch()
  private var requests = MessageWalker()
  private var responses = MessageWalker()
  /// Bytes kept of the request and the error at hand; -1 once nothing more of it is to be kept.
  private var requestKept = -1
  private var errorKept = -1
  private var acknowledged: UInt32 = 0
  /// Requests that a ReadyForQuery will answer.
  private var awaited = 0
  private var hasGap = false

  /// Bytes kept of requests of which only names are wanted; two fit.
  private static let namesLimit = 512
  private static let errorLimit = 1024

  /// Told to the client of a session that cannot be recorded.
  static let overflow = WireError(
    .adminShutdown, "the audit log cannot keep up and this cluster does not let statements go unrecorded",
    hint: "Connect again in a moment; tell the administrator if it persists.")

  /// Told to the client whose statement could not be told apart from others.
  static let nameTooLong = WireError(
    .nameTooLong, "the name of a prepared statement or portal is longer than \(FrontendMessage.maximumName) bytes",
    detail: "This cluster does not let statements go unrecorded, and databases cut such names.",
    hint: "Have the program use shorter names.")

  /// What became of a client's bytes.
  enum Verdict {
    case noted
    /// There was no room for them and the session must not go on.
    case overflow
    /// They have a name that cannot be followed and must not reach the database.
    case nameTooLong
  }

  /// - Parameter session: names the session to the consumer.
  init(_ recording: QueryRecording, reactor index: Int, session: UInt64) {
    ring = recording.rings[index]
    self.session = session
    queryLimit = recording.settings.maximumQuery
    valueLimit = recording.settings.includesParameters ? recording.settings.maximumQuery : Self.namesLimit
    isStrict = recording.settings.isStrict
  }

  /// Takes note of bytes from the client that a scanner has let pass.
  ///
  /// - Returns: anything but `noted` only if the session is a strict one.
  mutating func noteRequests(_ bytes: UnsafeRawBufferPointer, now: UInt64) -> Verdict {
    var position = 0
    while let part = requests.next(bytes, &position) {
      if part.isFirst { requestKept = begin(part.type) }
      if isStrict, !names.admits(part) { return .nameTooLong }
      guard requestKept >= 0 else { continue }
      let limit = limit(of: part.type)
      let kept = min(part.bytes.count, limit - requestKept)
      let isLast = part.isLast || requestKept + kept == limit
      let isNoted = put(part, kept, isLast: isLast, isResponse: false, now: now)
      requestKept = isLast || !isNoted ? -1 : requestKept + kept
      if !isNoted, isStrict { return .overflow }
    }
    return .noted
  }

  /// Takes note of bytes from the database that a scanner has let pass.
  mutating func noteResponses(_ bytes: UnsafeRawBufferPointer, now: UInt64) {
    var position = 0
    while let part = responses.next(bytes, &position) {
      switch part.type {
      case UInt8(ascii: "1"), UInt8(ascii: "2"), UInt8(ascii: "3"), UInt8(ascii: "C"), UInt8(ascii: "s"),
        UInt8(ascii: "I"), UInt8(ascii: "T"), UInt8(ascii: "n"):
        if part.isLast { acknowledged &+= 1 }
      case UInt8(ascii: "Z"): if part.isLast { noteReady(part, now: now) }
      case UInt8(ascii: "E"): noteError(part, now: now)
      default: break
      }
    }
  }

  private mutating func noteReady(_ part: MessageWalker.Part, now: UInt64) {
    awaited = max(0, awaited - 1)
    _ = put(part, part.bytes.count, isLast: true, isResponse: true, now: now)
  }

  private mutating func noteError(_ part: MessageWalker.Part, now: UInt64) {
    if part.isFirst { errorKept = 0 }
    guard errorKept >= 0 else { return }
    let kept = min(part.bytes.count, Self.errorLimit - errorKept)
    let isLast = part.isLast || errorKept + kept == Self.errorLimit
    let isNoted = put(part, kept, isLast: isLast, isResponse: true, now: now)
    errorKept = isLast || !isNoted ? -1 : errorKept + kept
  }

  /// A request begins: 0 if it is to be noted, else -1.
  private mutating func begin(_ type: UInt8) -> Int {
    switch type {
    case UInt8(ascii: "Q"), UInt8(ascii: "F"), UInt8(ascii: "S"): awaited += 1
    case UInt8(ascii: "P"), UInt8(ascii: "B"), UInt8(ascii: "E"), UInt8(ascii: "C"), UInt8(ascii: "D"): break
    default: return -1
    }
    return 0
  }

  private func limit(of type: UInt8) -> Int {
    switch type {
    case UInt8(ascii: "Q"), UInt8(ascii: "P"): queryLimit
    case UInt8(ascii: "B"), UInt8(ascii: "F"): valueLimit
    default: Self.namesLimit
    }
  }

  private mutating func put(
    _ part: MessageWalker.Part, _ kept: Int, isLast: Bool, isResponse: Bool, now: UInt64
  ) -> Bool {
    var flags = QueryRing.Flags()
    if part.isFirst { flags.insert(.first) }
    if isLast { flags.insert(.last) }
    if hasGap { flags.insert(.gap) }
    if isResponse { flags.insert(.response) }
    if isResponse, awaited == 0 { flags.insert(.idle) }
    let entry = QueryRing.Entry(
      type: part.type, flags: flags, bodyLength: part.bodyLength, acknowledged: isResponse ? acknowledged : 0,
      session: session, time: now)
    if isResponse { acknowledged = 0 }
    // Requests leave room for the answers to those that are under way.
    let reserve = isResponse ? 0 : ring.size / 8
    hasGap = !ring.put(entry, UnsafeRawBufferPointer(rebasing: part.bytes[..<kept]), reserve: reserve)
    return !hasGap
  }
}
