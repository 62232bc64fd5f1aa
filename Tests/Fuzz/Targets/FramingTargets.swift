import PostgresWire

extension FuzzTarget {
  /// What clients send after their login: a byte that chooses the cuts, then the stream.
  static let clientMessages = FuzzTarget(name: "client-messages", maximumLength: 256) { bytes in
    try compareFraming(bytes, .frontend, limits: FramingLimits.frontend, stop: UInt8(ascii: "X"))
  }

  /// What databases send after a login, likewise.
  static let serverMessages = FuzzTarget(name: "server-messages", maximumLength: 256) { bytes in
    try compareFraming(bytes, .backend, limits: FramingLimits.backend, stop: nil)
  }
}

/// Lengths that messages may declare, by the documentation's formats and PQ_SMALL_MESSAGE_LIMIT, PQ_LARGE_MESSAGE_LIMIT.
private enum FramingLimits {
  static func frontend(_ type: UInt8) -> ClosedRange<Int>? {
    if "QPBdF".utf8.contains(type) { return 4...0x3fff_fffe }
    if type == UInt8(ascii: "X") { return 4...4 }
    if "EDCSHcf".utf8.contains(type) { return 4...10_000 }
    return nil
  }

  static func backend(_ type: UInt8) -> ClosedRange<Int>? {
    if type == UInt8(ascii: "Z") { return 5...5 }
    if "DdTtENAV".utf8.contains(type) { return 4...0x3fff_fffe }
    if "CS123nsIcGHW".utf8.contains(type) { return 4...65_536 }
    return nil
  }
}

private func compareFraming(
  _ bytes: UnsafeRawBufferPointer, _ side: MessageScanner.Side, limits: (UInt8) -> ClosedRange<Int>?, stop: UInt8?
) throws {
  var input = FuzzInput(bytes)
  let seed = input.byte()
  let stream = Array(input.rest)
  var cutter = ChunkCutter(input.rest, seed: seed)
  let model = StreamModel(stream, limits: limits, stop: stop)

  var scanner = MessageScanner(side: side)
  var walker = MessageWalker()
  var walked: [StreamModel.Message] = []
  var body: [UInt8] = []
  var position = 0
  var passed = 0
  var ended = false
  scan: while let chunk = cutter.next() {
    do throws(WireError) {
      let scan = try scanner.scan(chunk)
      ended = scan.terminateEnd != nil
      passed = position + (scan.terminateEnd ?? chunk.count)
    } catch {
      passed = position + scanner.acceptedPrefix
      try require(model.violation != nil, "the scanner refuses what is right: \(error.message)")
      try require(
        (0..<5).contains(passed - model.end), "the scanner lets \(passed) bytes through, \(model.end) are right")
      try require(
        scanner.isAtMessageBoundary == (passed == model.end), "the scanner does not know where it leaves the peer")
      ended = true
    }
    let part = UnsafeRawBufferPointer(rebasing: chunk.prefix(passed - position))
    var offset = 0
    while let found = walker.next(part, &offset) {
      if found.isFirst { body = [] }
      body += found.bytes
      if found.isLast {
        try require(Int(found.bodyLength) == body.count, "the walker counts \(found.bodyLength), not \(body.count)")
        walked.append(.init(type: found.type, body: body))
      }
    }
    try require(offset == part.count, "the walker stops at \(offset) of \(part.count)")
    position += chunk.count
    if ended { break scan }
  }
  try require(walked == model.messages, "the walker finds \(walked.count) messages, the model \(model.messages.count)")
  try compareEnd(scanner, model, side, passed: passed, count: stream.count, hasEnded: ended)
}

/// What the scanner says of itself once all is read.
private func compareEnd(
  _ scanner: MessageScanner, _ model: StreamModel, _ side: MessageScanner.Side, passed: Int, count: Int, hasEnded: Bool
) throws {
  if !hasEnded {
    try require(model.violation == nil, "the scanner lets a violation at \(model.violation ?? 0) pass")
    try require(scanner.isAtMessageBoundary == (model.end == count), "the scanner is wrong about being at a boundary")
  }
  let cycles = model.headers.filter { (side == .frontend ? "QSF" : "Z").utf8.contains($0) }.count
  try require(scanner.cycles == UInt64(cycles), "the scanner counts \(scanner.cycles) cycles, the model \(cycles)")
  try require(scanner.lastType == (model.headers.last ?? 0), "the scanner's last type is another")
  guard side == .backend else { return }
  let status = model.messages.last { $0.type == UInt8(ascii: "Z") }?.body.first
  try require(scanner.transactionStatus == status, "the scanner knows another transaction status")
  let telling = model.headers.last { !"SNA".utf8.contains($0) }
  let state: MessageScanner.BackendState =
    switch telling {
    case nil, UInt8(ascii: "Z"): .readyForQuery
    case UInt8(ascii: "G"), UInt8(ascii: "W"): .copyingIn
    default: .answering
    }
  try require(scanner.backendState == state, "the scanner says \(scanner.backendState), the model \(state)")
}
