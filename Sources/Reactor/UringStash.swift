/// What came between a pause and the end of its operation, in order: bytes or sockets, then at most one end.
struct UringStash {
  var bytes: [UInt8] = []
  /// How many of `bytes` have been delivered.
  var delivered = 0
  var sockets: [Int32] = []
  /// 0: end of stream; else an errno.
  var end: Int32?

  var isEmpty: Bool { delivered == bytes.count && sockets.isEmpty && end == nil }
}
