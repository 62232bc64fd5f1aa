/// Names one connection for as long as it lives: a slab index and the generation of that slot.
///
/// A handle kept past the connection's end never names another connection: the generation differs. It crosses threads
/// freely; it is resolved only on the reactor that made it.
public struct Handle: Hashable, Sendable {
  /// Index in the low half, generation in the high half: the shape epoll's and io_uring's user data want.
  @usableFromInline let bits: UInt64

  @inlinable init(bits: UInt64) { self.bits = bits }

  @inlinable init(index: Int, generation: UInt32) {
    bits = UInt64(generation) << 32 | UInt64(UInt32(truncatingIfNeeded: index))
  }

  @inlinable var index: Int { Int(UInt32(truncatingIfNeeded: bits)) }
  @inlinable var generation: UInt32 { UInt32(truncatingIfNeeded: bits >> 32) }
}
