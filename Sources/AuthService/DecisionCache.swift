import AccessControl
import Synchronization

/// What logins are decided by, as it was read last: the locks, and the users and roles that were asked for.
///
/// In use only where a change is announced before the call that makes it returns, as SQLite's store does. Auth Services
/// that share their state hear of each other's changes a moment later: they read each time. Thread-safe.
final class DecisionCache: Sendable {
  /// What counts of a user.
  struct Subject: Sendable {
    var roles: [String]
    var traits: [String: [String]]
  }

  private struct Known {
    var locks: [Lock]?
    var subjects: [String: Subject] = [:]
    var roles: [String: Role] = [:]
  }

  private let isUsed: Bool
  private let state = Mutex((generation: 0, known: Known()))

  /// Users and roles that are kept each.
  private static let capacity = 10_000

  init(isUsed: Bool) { self.isUsed = isUsed }

  /// Something has changed.
  func forget() { state.withLock { $0 = ($0.generation &+ 1, Known()) } }

  func locks(_ read: () throws -> [Lock]) rethrows -> [Lock] {
    // `read` has a value each time: nothing is passed over.
    try value(\.locks, read, keep: { $0.locks = $1 }) ?? []
  }

  func subject(_ name: String, _ read: () throws -> Subject?) rethrows -> Subject? {
    try entry(name, of: \.subjects, read)
  }

  func role(_ name: String, _ read: () throws -> Role?) rethrows -> Role? { try entry(name, of: \.roles, read) }

  /// Who or what is not there is looked for each time.
  private func entry<Value: Sendable>(
    _ name: String, of table: WritableKeyPath<Known, [String: Value]>, _ read: () throws -> Value?
  ) rethrows -> Value? {
    try value(
      { $0[keyPath: table][name] }, read,
      keep: { known, value in
        if known[keyPath: table].count >= Self.capacity { known[keyPath: table] = [:] }
        known[keyPath: table][name] = value
      })
  }

  /// What was read while something changed is good for its reader, and is not kept.
  private func value<Value: Sendable>(
    _ find: (Known) -> Value?, _ read: () throws -> Value?, keep: (inout Known, Value) -> Void
  ) rethrows -> Value? {
    guard isUsed else { return try read() }
    let (generation, found) = state.withLock { ($0.generation, find($0.known)) }
    if let found { return found }
    guard let fresh = try read() else { return nil }
    state.withLock { if $0.generation == generation { keep(&$0.known, fresh) } }
    return fresh
  }
}
