import TLS

/// Sessions that servers offered, for the next connections to them; one reactor's own, so without a lock.
///
/// A session is kept for exactly what its verification was about: the context (CAs, strictness and our certificate; a
/// rotation or reload makes a new one), the name that was checked, and the address. Bounded in number and age.
final class ResumptionCache {
  /// Connections that may resume each other's sessions.
  struct Target: Hashable {
    let context: ClientTLSContext.ID
    let serverName: String
    let address: String
  }

  private struct Entry {
    /// Oldest first.
    var sessions: [(session: ResumableSession, since: UInt64)] = []
    /// The server does not get along with resumption: none is offered before this time.
    var refusedUntil: UInt64 = 0
    var lastUsed: UInt64
  }

  private static let mostTargets = 64
  /// Servers offer up to two a connection.
  private static let mostSessions = 4
  /// Milliseconds. Servers keep their side for hours; revoked trust shall not live on for longer than this.
  private static let mostAge: UInt64 = 3_600_000

  private var entries: [Target: Entry] = [:]

  /// The newest session for `target`, if there is a good one.
  func take(for target: Target, now: UInt64) -> ResumableSession? {
    guard var entry = entries[target], now >= entry.refusedUntil else { return nil }
    entry.sessions.removeAll { now - $0.since >= Self.mostAge || !$0.session.isInDate }
    entry.lastUsed = now
    defer { entries[target] = entry }
    guard let newest = entry.sessions.last?.session else { return nil }
    if newest.isForOneUse { entry.sessions.removeLast() }
    return newest
  }

  func keep(_ sessions: [ResumableSession], for target: Target, now: UInt64) {
    guard !sessions.isEmpty else { return }
    var entry = entries[target] ?? Entry(lastUsed: now)
    entry.sessions += sessions.map { ($0, now) }
    entry.sessions.removeFirst(max(0, entry.sessions.count - Self.mostSessions))
    entry.lastUsed = now
    store(entry, for: target)
  }

  /// A handshake that offered a session failed: forgets the target's sessions and offers none for a while.
  func refused(_ target: Target, now: UInt64) {
    store(Entry(refusedUntil: now + Self.mostAge, lastUsed: now), for: target)
  }

  private func store(_ entry: Entry, for target: Target) {
    if entries[target] == nil, entries.count >= Self.mostTargets,
      let oldest = entries.min(by: { $0.value.lastUsed < $1.value.lastUsed })
    {
      entries[oldest.key] = nil
    }
    entries[target] = entry
  }
}
