/// How large the records of one channel may be.
///
/// The peer can use nothing of a record before it has all of it. After a silence TCP begins with ten segments (RFC 6928)
/// and waits a round trip for leave to send more, so a first record of 16 KiB would be of use only after two. What is
/// written then goes out in records of three segments; a burst that lasts gets full ones, which cost least.
struct RecordPace {
  private var lastWrite: UInt64 = 0
  private var written = 0

  private static let small = 4 * 1024
  private static let firstWindow = 10 * 1448
  /// Milliseconds; the kernel forgets a connection's window after a retransmission timeout, 200 ms or more.
  private static let silence: UInt64 = 1_000

  /// The most plaintext for one record of what is written `now`, in milliseconds.
  @inline(__always)
  mutating func largest(_ count: Int, now: UInt64) -> Int {
    if now &- lastWrite >= Self.silence { written = 0 }
    lastWrite = now
    guard written < Self.firstWindow else { return .max }
    written += count
    return Self.small
  }
}
