import CPlatform
import Glibc

/// One io_uring with its receive buffers ([io_uring(7)](https://man7.org/linux/man-pages/man7/io_uring.7.html)).
///
/// Bound to the thread that made it (`IORING_SETUP_SINGLE_ISSUER`), which alone may submit and wait.
final class Uring {
  /// What a submission is about; completions carry it back with the handle.
  enum Operation: UInt64 {
    case input, bulkInput, send, connect, wake, unheard
  }

  // Invariant: both are owned by this object and live as long as it does. The ring is closed before the buffers it knows
  // are freed.
  private let ring: UnsafeMutablePointer<io_uring>
  private let completions: UnsafeMutableBufferPointer<UnsafeMutablePointer<io_uring_cqe>?>

  /// What multishot receives are given.
  let buffers: UringBuffers
  /// What receives of one buffer at a time are given.
  let bulkBuffers: UringBuffers

  private static let submissionEntries: UInt32 = 512
  private static let completionEntries: UInt32 = 8192
  private static let completionsPerTurn = 256

  /// - Parameters:
  ///   - buffers: size and number of those for multishot receives; the number is a power of two.
  ///   - bulkBuffers: and of those for receives of one buffer at a time.
  /// - Throws: what keeps this process from using io_uring: ENOSYS or EINVAL of an old kernel, EPERM of a sysctl or a
  ///   seccomp filter, ENOMEM of a memory limit.
  init(buffers: (size: Int, count: Int), bulkBuffers: (size: Int, count: Int)) throws(SystemError) {
    ring = .allocate(capacity: 1)
    ring.initialize(to: io_uring())
    let status = platform_uring_open(ring, Self.submissionEntries, Self.completionEntries)
    guard status == 0 else {
      ring.deallocate()
      throw SystemError(call: "io_uring_setup", errno: -status)
    }
    completions = .allocate(capacity: Self.completionsPerTurn)
    completions.initialize(repeating: nil)
    do throws(SystemError) {
      self.buffers = try UringBuffers(of: ring, group: 0, size: buffers.size, count: buffers.count)
      self.bulkBuffers = try UringBuffers(of: ring, group: 1, size: bulkBuffers.size, count: bulkBuffers.count)
    } catch {
      io_uring_queue_exit(ring)
      ring.deallocate()
      completions.deallocate()
      throw error
    }
    try probe()
  }

  deinit {
    io_uring_queue_exit(ring)
    ring.deallocate()
    completions.deallocate()
  }

  /// A filter may allow making a ring and forbid using it; a kernel may be built without an operation.
  private func probe() throws(SystemError) {
    guard let supported = io_uring_get_probe_ring(ring) else {
      throw SystemError(call: "io_uring_register", errno: ENOSYS)
    }
    defer { io_uring_free_probe(supported) }
    for operation in [
      IORING_OP_ACCEPT, IORING_OP_CONNECT, IORING_OP_RECV, IORING_OP_SEND, IORING_OP_ASYNC_CANCEL, IORING_OP_POLL_ADD,
    ] where io_uring_opcode_supported(supported, Int32(operation.rawValue)) == 0 {
      throw SystemError(call: "io_uring operation \(operation.rawValue)", errno: ENOSYS)
    }
    guard let entry = io_uring_get_sqe(ring) else { throw SystemError(call: "io_uring_get_sqe", errno: EBUSY) }
    io_uring_prep_nop(entry)
    let status = io_uring_submit_and_wait(ring, 1)
    guard status == 1 else { throw SystemError(call: "io_uring_enter", errno: status < 0 ? -status : EIO) }
    io_uring_cq_advance(ring, 1)
  }

  // MARK: Submitting

  /// What the kernel can be asked for.
  enum Request {
    case accept(listener: Int32)
    case receive(socket: Int32)
    /// One buffer of bytes, then no more.
    case receiveOnce(socket: Int32)
    case send(socket: Int32, UnsafeRawBufferPointer)
    case connect(socket: Int32, UnsafePointer<sockaddr>, socklen_t)
    /// Ends the request of that operation and handle.
    case cancel(Operation, Handle)
    case watch(descriptor: Int32)
  }

  /// Puts `request` into the submission queue; a full one is submitted first.
  ///
  /// - Returns: `false` if the kernel takes nothing for now.
  @inline(__always)
  func prepare(_ request: Request, _ operation: Operation, _ handle: Handle) -> Bool {
    guard let entry = io_uring_get_sqe(ring) ?? afterSubmitting() else { return false }
    switch request {
    case .accept(let listener): platform_uring_accept(entry, listener)
    case .receive(let socket): platform_uring_receive(entry, socket, buffers.group)
    case .receiveOnce(let socket):
      platform_uring_receive_once(entry, socket, UInt32(bulkBuffers.size), bulkBuffers.group)
    case .send(let socket, let bytes): platform_uring_send(entry, socket, bytes.baseAddress, bytes.count)
    case .connect(let socket, let address, let length): io_uring_prep_connect(entry, socket, address, length)
    case .cancel(let operation, let handle): platform_uring_cancel(entry, Self.userData(operation, handle))
    case .watch(let descriptor): platform_uring_poll(entry, descriptor)
    }
    io_uring_sqe_set_data64(entry, Self.userData(operation, handle))
    return true
  }

  private func afterSubmitting() -> UnsafeMutablePointer<io_uring_sqe>? {
    io_uring_submit(ring)
    return io_uring_get_sqe(ring)
  }

  /// Handles below this index leave room for the operation beside them.
  static let maximumIndex = 1 << 28

  private static func userData(_ operation: Operation, _ handle: Handle) -> UInt64 {
    handle.bits | operation.rawValue << 28
  }

  // MARK: Waiting

  /// Submits what was prepared and waits up to `milliseconds` (-1: for ever) for a completion: one system call.
  func submitAndWait(milliseconds: Int32) {
    // Whatever the outcome (ETIME, EINTR, EAGAIN, EBUSY of an overflown queue), what has completed is looked at next and
    // what was not taken stays in the queue for the next turn.
    if milliseconds == 0 {
      io_uring_submit_and_get_events(ring)
    } else if milliseconds < 0 {
      io_uring_submit_and_wait(ring, 1)
    } else {
      var limit = __kernel_timespec(
        tv_sec: Int64(milliseconds / 1000), tv_nsec: Int64(milliseconds % 1000) * 1_000_000)
      var first: UnsafeMutablePointer<io_uring_cqe>?
      io_uring_submit_and_wait_timeout(ring, &first, 1, &limit, nil)
    }
  }

  /// What has completed, at most 256 at once; more stays for the next turn.
  @inline(__always)
  func reap(_ body: (Operation, Handle, _ result: Int32, _ flags: UInt32) -> Void) {
    let count = io_uring_peek_batch_cqe(ring, completions.baseAddress, UInt32(completions.count))
    for position in 0..<Int(count) {
      guard let completion = completions[position]?.pointee else { continue }
      let operation = Operation(rawValue: completion.user_data >> 28 & 0xf) ?? .unheard
      body(operation, Handle(bits: completion.user_data & ~(0xf << 28)), completion.res, completion.flags)
    }
    io_uring_cq_advance(ring, count)
    buffers.publish()
    bulkBuffers.publish()
  }
}
