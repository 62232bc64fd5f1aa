/// Blocks for the beginnings of records whose rest has not arrived yet, kept for reuse by one reactor. Not thread-safe.
public final class BlockPool {
  /// The longest record of TLS 1.2 (RFC 5246 section 6.2.3: 2^14 + 2048, and the header).
  static let capacity = 5 + 16 * 1024 + 2048
  private var free: [UnsafeMutableRawPointer] = []
  private let keep: Int

  /// - Parameter keep: how many unused blocks stay allocated.
  public init(keep: Int = 16) {
    self.keep = keep
    free.reserveCapacity(keep)
  }

  deinit { for block in free { block.deallocate() } }

  func take() -> UnsafeMutableRawPointer { free.popLast() ?? .allocate(byteCount: Self.capacity, alignment: 64) }

  func give(_ block: UnsafeMutableRawPointer) {
    if free.count < keep { free.append(block) } else { block.deallocate() }
  }
}
