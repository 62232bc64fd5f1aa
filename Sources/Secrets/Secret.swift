import Glibc

/// Bytes that must not outlive their use or reach a log: a password, a key, a token.
///
/// The storage is a single heap block, wiped when the last reference goes away
/// ([explicit_bzero(3)](https://man7.org/linux/man-pages/man3/explicit_bzero.3.html)). Printing, interpolating or
/// mirroring a `Secret` shows a placeholder. Immutable after creation, so safe to share between threads.
public final class Secret: @unchecked Sendable {
  // Invariant: `storage` has room for `count` bytes, is owned by this object alone and never written after `init`.
  private let storage: UnsafeMutableRawPointer

  /// Copies `bytes`; the caller stays responsible for wiping its own copy.
  public init(_ bytes: some Collection<UInt8>) {
    count = bytes.count
    storage = .allocate(byteCount: max(count, 1), alignment: 16)
    UnsafeMutableRawBufferPointer(start: storage, count: count).copyBytes(from: bytes)
  }

  /// `count` bytes, zero until `fill` has written them: for calls that hand secrets out through a pointer.
  public init(count: Int, filledBy fill: (UnsafeMutableRawBufferPointer) -> Void) {
    self.count = count
    storage = .allocate(byteCount: max(count, 1), alignment: 16)
    let bytes = UnsafeMutableRawBufferPointer(start: storage, count: count)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    fill(bytes)
  }

  /// The UTF-8 bytes of `text`.
  public convenience init(utf8 text: String) { self.init(text.utf8) }

  deinit {
    explicit_bzero(storage, count)
    storage.deallocate()
  }

  /// How many bytes the secret has.
  public let count: Int

  /// Lends the bytes for the duration of `body`; they must not be kept.
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try body(UnsafeRawBufferPointer(start: storage, count: count))
  }

  /// A copy as text, for interfaces that take only strings; `nil` if the bytes are not UTF-8.
  public func revealText() -> String? { withBytes { String(validating: $0, as: UTF8.self) } }

  /// Compares without telling by its duration where the first difference is. Lengths are not hidden.
  public func constantTimeEquals(_ other: some Collection<UInt8>) -> Bool {
    guard other.count == count else { return false }
    return withBytes { mine in
      var difference: UInt8 = 0
      for (a, b) in zip(mine, other) { difference |= a ^ b }
      return difference == 0
    }
  }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  public var description: String { "<secret>" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
