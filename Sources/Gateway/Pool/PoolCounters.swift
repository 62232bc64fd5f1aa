/// What one reactor's pools have counted since it started.
public struct PoolCounters: Sendable {
  /// Connections that were reset and kept.
  public internal(set) var kept: UInt64 = 0
  /// Times that a client got a connection which somebody had used before.
  public internal(set) var reused: UInt64 = 0
  /// Clients that waited in vain.
  public internal(set) var timeouts: UInt64 = 0
  /// Pooled connections that are no more.
  public internal(set) var discarded: [Reason: UInt64] = [:]

  /// Why one was closed.
  public enum Reason: String, Sendable {
    /// Its client left in the middle of something.
    case unfinished
    /// `server_reset_query` failed or took too long.
    case reset
    /// There were too many.
    case surplus
    case idleTimeout = "idle_timeout"
    case lifetime
    /// The credentials it was opened with are over.
    case credentials
    /// The database closed it.
    case closed
    /// The database said something unasked.
    case unexpected
    /// It is not known whether a cancel is still on its way to it.
    case cancel
    /// It did not answer the check before its next use.
    case check
    case shutdown
  }
}
