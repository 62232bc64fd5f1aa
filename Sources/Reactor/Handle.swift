/// Names one connection for as long as it lives: a slab index and the generation of that slot.
///
/// A handle kept past the connection's end never names another connection: the generation differs. It crosses threads
/// freely; it is resolved only on the reactor that made it.
public struct Handle: Hashable, Sendable {
  /// Index in the low half, generation in the high half: the shape epoll's and io_uring's user data want.
  @usableFromInline let bits: UInt64

  @inlinable init(bits: UInt64) { self.bits = bits }

  @inlinable package init(index: Int, generation: UInt32) {
    bits = UInt64(generation) << 32 | UInt64(UInt32(truncatingIfNeeded: index))
  }

  @inlinable package var index: Int { Int(UInt32(truncatingIfNeeded: bits)) }
  @inlinable package var generation: UInt32 { UInt32(truncatingIfNeeded: bits >> 32) }
}

extension Handle: Comparable {
  /// An order without meaning, the same in every run.
  public static func < (a: Handle, b: Handle) -> Bool { a.bits < b.bits }
}
