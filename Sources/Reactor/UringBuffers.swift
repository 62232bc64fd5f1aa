import CPlatform
import Glibc

/// One group of receive buffers that the kernel draws from, shared by all sockets of a ring
/// ([io_uring_register_buf_ring(3)](https://man7.org/linux/man-pages/man3/io_uring_register_buf_ring.3.html)).
///
/// Bound to the thread of its ring.
final class UringBuffers {
  /// Which of a ring's groups.
  let group: UInt16
  /// Bytes of one buffer.
  let size: Int
  private let count: Int
  // Invariant: both are owned by this object and outlive the ring's use of them; a buffer is ours from the completion that
  // names it until `giveBack`.
  private let ring: UnsafeMutablePointer<io_uring_buf_ring>
  private let memory: UnsafeMutableRawBufferPointer
  private var returned: Int32 = 0

  /// Registers the group with `uring`, which has to be closed before this object goes.
  ///
  /// - Parameter count: a power of two, at most 32,768.
  init(of uring: UnsafeMutablePointer<io_uring>, group: UInt16, size: Int, count: Int) throws(SystemError) {
    (self.group, self.size, self.count) = (group, size, count)
    // The kernel asks for page alignment.
    let entries = UnsafeMutableRawPointer.allocate(
      byteCount: count * MemoryLayout<io_uring_buf>.stride, alignment: 4096)
    ring = entries.assumingMemoryBound(to: io_uring_buf_ring.self)
    memory = .allocate(byteCount: count * size, alignment: 4096)
    let status = platform_uring_provide(uring, entries, UInt32(count), group)
    guard status == 0 else { throw SystemError(call: "io_uring_register", errno: -status) }
    io_uring_buf_ring_init(ring)
    for buffer in 0..<count { giveBack(UInt16(buffer)) }
    publish()
  }

  deinit {
    UnsafeMutableRawPointer(ring).deallocate()
    memory.deallocate()
  }

  /// The first `count` bytes of a buffer that a completion named.
  @inline(__always)
  func bytes(of buffer: UInt16, count: Int) -> UnsafeRawBufferPointer {
    let start = Int(buffer) * size
    return UnsafeRawBufferPointer(rebasing: memory[start..<start + min(count, size)])
  }

  /// Lets the kernel have the buffer again from the next `publish` on.
  @inline(__always)
  func giveBack(_ buffer: UInt16) {
    io_uring_buf_ring_add(
      ring, memory.baseAddress.map { $0 + Int(buffer) * size }, UInt32(size), buffer,
      io_uring_buf_ring_mask(UInt32(count)), returned)
    returned += 1
  }

  @inline(__always)
  func publish() {
    guard returned > 0 else { return }
    io_uring_buf_ring_advance(ring, returned)
    returned = 0
  }
}
