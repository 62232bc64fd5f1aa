import AccessControl

/// Body of `POST /v1/locks`.
public struct LockRequest: Codable, Sendable {
  /// The lock; validated when it is decoded.
  public var lock: Lock
  /// Whether an existing lock of that name may be replaced.
  public var force: Bool

  public init(lock: Lock, force: Bool) {
    self.lock = lock
    self.force = force
  }
}

/// Its answer.
public struct LockResponse: Codable, Sendable {
  /// Whether a lock of that name was there before.
  public var replaced: Bool
  public init(replaced: Bool) { self.replaced = replaced }
}
