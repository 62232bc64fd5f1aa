import CPlatform
import Glibc

/// The completion contract over io_uring: one system call a loop turn, however many operations it submits and reaps.
///
/// A socket is received from by one multishot operation for as long as it is wanted (in bulk by one for each buffer); the
/// bytes arrive in buffers shared by all sockets, so that an idle one holds none. Bound to the thread that made it, except `waker`.
///
/// What the kernel still works on when a handle is closed is cancelled, and the descriptor and the owner of the send
/// buffer are kept until its last completion has come. docs/decisions/036-io-uring.md has the reasons.
public final class UringBackend: CompletionBackend {
  private enum Input: UInt8 { case idle, armed, armedForBulk, cancelling }

  private struct Entry {
    var handle = Handle(bits: 0)
    var descriptor: Int32 = -1
    var input = Input.idle
    var isListener = false
    /// The owner wants completions of this kind.
    var wantsInput = false
    var isSending = false
    var isConnecting = false
    /// Something arrived while the owner did not want it: it is in `stashes`.
    var hasStash = false
    /// A full buffer was received not long ago: bytes are asked for one buffer at a time.
    var isBulk = false
    /// How many receives in a row brought little.
    var smallReceives: UInt8 = 0

    /// What is under way and not yet cancelled.
    var inputOperation: Uring.Operation? {
      switch input {
      case .armed: .input
      case .armedForBulk: .bulkInput
      case .idle, .cancelling: nil
      }
    }
    var inFlight: Int { (input == .idle ? 0 : 1) + (isSending ? 1 : 0) + (isConnecting ? 1 : 0) }
  }

  /// A closed handle of which the kernel still holds something.
  private struct Closing {
    let descriptor: Int32
    let isListener: Bool
    var inFlight: Int
    let owner: AnyObject?
  }

  private struct Postponed {
    let request: Uring.Request
    let operation: Uring.Operation
    let handle: Handle
  }

  public let waker: Waker
  private let uring: Uring
  private var entries: [Entry] = []
  private var stashes: [Handle: UringStash] = [:]
  private var closing: [Handle: Closing] = [:]
  /// Addresses of connects under way: the kernel reads them when the operation is submitted.
  private var addresses: [Handle: UnsafeMutablePointer<sockaddr_storage>] = [:]
  /// Handles whose stash is wanted, and operations that found no place in the submission queue.
  private var ready: [Handle] = []
  private var working: [Handle] = []
  private var postponed: [Postponed] = []

  /// So many receives in a row that bring less than a quarter of a small buffer end a bulk transfer.
  private static let smallReceivesAfterBulk: UInt8 = 16
  /// Bytes of a stash that are delivered at once.
  private static let portion = 64 * 1024
  /// Turns and milliseconds each that the end waits for the kernel to let go of what it holds.
  private static let lastTurns = 100
  private static let lastTurnMilliseconds: Int32 = 20

  /// - Parameters:
  ///   - receiveBufferSize: bytes of one receive buffer.
  ///   - receiveBuffers: how many there are, for all sockets together: a power of two.
  ///   - bulkBufferSize: bytes of one receive buffer for sockets that bring more than the others hold.
  ///   - bulkBuffers: how many of these: so many sockets can bring so much in one turn. A power of two.
  /// - Throws: what keeps this process from using io_uring.
  public init(
    receiveBufferSize: Int = 16 * 1024, receiveBuffers: Int = 128, bulkBufferSize: Int = 64 * 1024,
    bulkBuffers: Int = 16
  ) throws(SystemError) {
    waker = try Waker()
    uring = try Uring(
      buffers: (receiveBufferSize, receiveBuffers), bulkBuffers: (bulkBufferSize, bulkBuffers))
    watchWaker()
  }

  deinit {
    for entry in entries where entry.descriptor >= 0 { close(entry.handle, keeping: nil) }
    finish()
    for rest in closing.values { Glibc.close(rest.descriptor) }
    for address in addresses.values { address.deallocate() }
  }

  // MARK: Submitting

  public func register(_ socket: Int32, as handle: Handle) throws(SystemError) {
    guard handle.index < Uring.maximumIndex else { throw SystemError(call: "register", errno: EMFILE) }
    while entries.count <= handle.index { entries.append(Entry()) }
    entries[handle.index] = Entry(handle: handle, descriptor: socket)
  }

  public func accept(_ handle: Handle) {
    guard let index = index(of: handle) else { return }
    entries[index].isListener = true
    wantInput(index)
  }

  public func receive(_ handle: Handle) {
    guard let index = index(of: handle) else { return }
    wantInput(index)
  }

  public func pause(_ handle: Handle) {
    guard let index = index(of: handle) else { return }
    entries[index].wantsInput = false
    cancelInput(index)
  }

  public func connect(_ handle: Handle, to address: SocketAddress) {
    guard let index = index(of: handle) else { return }
    entries[index].isConnecting = true
    let copy = UnsafeMutablePointer<sockaddr_storage>.allocate(capacity: 1)
    copy.initialize(to: sockaddr_storage())
    let length = address.withSockAddr { from, length in
      UnsafeMutableRawPointer(copy).copyMemory(from: from, byteCount: Int(length))
      return length
    }
    addresses[handle] = copy
    let request = copy.withMemoryRebound(to: sockaddr.self, capacity: 1) { bound in
      Uring.Request.connect(socket: entries[index].descriptor, bound, length)
    }
    submit(request, .connect, handle)
  }

  public func send(_ handle: Handle, _ bytes: UnsafeRawBufferPointer) {
    guard let index = index(of: handle) else { return }
    entries[index].isSending = true
    submit(.send(socket: entries[index].descriptor, bytes), .send, handle)
  }

  public func shutdownWrite(_ handle: Handle) {
    guard let index = index(of: handle) else { return }
    // ENOTCONN means that the peer is gone already: the receive side reports that.
    _ = Glibc.shutdown(entries[index].descriptor, Int32(SHUT_WR))
  }

  public func close(_ handle: Handle, keeping owner: AnyObject?) {
    guard let index = index(of: handle) else { return }
    let entry = entries[index]
    entries[index] = Entry()
    if entry.hasStash, let stash = stashes.removeValue(forKey: handle) {
      for socket in stash.sockets { Glibc.close(socket) }
    }
    guard entry.inFlight > 0 else {
      Glibc.close(entry.descriptor)
      return
    }
    closing[handle] = Closing(
      descriptor: entry.descriptor, isListener: entry.isListener, inFlight: entry.inFlight, owner: owner)
    if let operation = entry.inputOperation { cancel(operation, handle) }
    if entry.isSending { cancel(.send, handle) }
    if entry.isConnecting { cancel(.connect, handle) }
  }

  public func finish() {
    var turns = 0
    while !closing.isEmpty, turns < Self.lastTurns {
      poll(timeoutMilliseconds: Self.lastTurnMilliseconds, awoke: {}, deliver: { _, _ in })
      turns += 1
    }
  }

  private func wantInput(_ index: Int) {
    entries[index].wantsInput = true
    if entries[index].hasStash { ready.append(entries[index].handle) } else { arm(index) }
  }

  /// Starts the operation unless one runs; one that is being cancelled has to end first.
  private func arm(_ index: Int) {
    guard entries[index].input == .idle else { return }
    let (handle, descriptor) = (entries[index].handle, entries[index].descriptor)
    if entries[index].isBulk {
      entries[index].input = .armedForBulk
      submit(.receiveOnce(socket: descriptor), .bulkInput, handle)
    } else {
      entries[index].input = .armed
      submit(entries[index].isListener ? .accept(listener: descriptor) : .receive(socket: descriptor), .input, handle)
    }
  }

  private func cancelInput(_ index: Int) {
    guard let operation = entries[index].inputOperation else { return }
    entries[index].input = .cancelling
    cancel(operation, entries[index].handle)
  }

  /// One multishot receive takes all that a socket has, which for a bulk transfer is more than its owner can pass on: it
  /// would have to pause each turn, and what had come by then would have to be copied. So bulk is received as it is
  /// relayed, a buffer a turn; there are few such buffers, so that bulk leaves most of a turn to the others.
  @inline(__always)
  private func noteAmount(_ count: Int, _ index: Int) {
    if !entries[index].isBulk {
      guard count == uring.buffers.size else { return }
      entries[index].isBulk = true
      entries[index].smallReceives = 0
      cancelInput(index)
    } else if count >= uring.buffers.size / 4 {
      entries[index].smallReceives = 0
    } else {
      entries[index].smallReceives += 1
      if entries[index].smallReceives >= Self.smallReceivesAfterBulk { entries[index].isBulk = false }
    }
  }

  private func cancel(_ operation: Uring.Operation, _ handle: Handle) {
    submit(.cancel(operation, handle), .unheard, handle)
  }

  private func watchWaker() { submit(.watch(descriptor: waker.descriptor), .wake, Handle(bits: 0)) }

  /// Order is kept: once something had to be postponed, so is what comes after it.
  @inline(__always)
  private func submit(_ request: Uring.Request, _ operation: Uring.Operation, _ handle: Handle) {
    if postponed.isEmpty, uring.prepare(request, operation, handle) { return }
    postponed.append(Postponed(request: request, operation: operation, handle: handle))
  }

  private func submitPostponed() {
    let taken = postponed.prefix { uring.prepare($0.request, $0.operation, $0.handle) }.count
    postponed.removeFirst(taken)
  }

  // MARK: Completions

  public func poll(timeoutMilliseconds: Int32, awoke: () -> Void, deliver: (Handle, Completion) -> Void) {
    // What is delivered before the wait may make the owner submit something, which must not wait in its turn.
    let mayWait = ready.isEmpty && postponed.isEmpty
    if !ready.isEmpty { serveReady(deliver) }
    if !postponed.isEmpty { submitPostponed() }
    uring.submitAndWait(milliseconds: mayWait ? timeoutMilliseconds : 0)
    awoke()
    uring.reap { operation, handle, result, flags in
      switch operation {
      case .input: inputCompleted(handle, result, flags, uring.buffers, deliver)
      case .bulkInput: inputCompleted(handle, result, flags, uring.bulkBuffers, deliver)
      case .send: sendCompleted(handle, result, deliver)
      case .connect: connectCompleted(handle, result, deliver)
      case .wake:
        waker.acknowledge()
        if platform_uring_has_more(flags) == 0 { watchWaker() }
      case .unheard: break
      }
    }
  }

  private func inputCompleted(
    _ handle: Handle, _ result: Int32, _ flags: UInt32, _ buffers: UringBuffers,
    _ deliver: (Handle, Completion) -> Void
  ) {
    let isLast = platform_uring_has_more(flags) == 0
    let buffer =
      platform_uring_has_buffer(flags) != 0 ? UInt16(truncatingIfNeeded: platform_uring_buffer(flags)) : nil
    defer { if let buffer { buffers.giveBack(buffer) } }
    guard let index = index(of: handle) else {
      // A socket accepted for a listener that is closed goes the way of those in its backlog.
      if closing[handle]?.isListener == true, result >= 0 { Glibc.close(result) }
      if isLast { letGo(handle) }
      return
    }
    if isLast { entries[index].input = .idle }
    if result > 0, let buffer {
      noteAmount(Int(result), index)
      take(buffers.bytes(of: buffer, count: Int(result)), index, deliver)
    } else if result >= 0, entries[index].isListener {
      take(socket: result, index, deliver)
    } else {
      take(end: result, index, deliver)
    }
    guard isLast, let index = self.index(of: handle) else { return }
    if entries[index].wantsInput, !entries[index].hasStash { arm(index) }
  }

  @inline(__always)
  private func take(_ bytes: UnsafeRawBufferPointer, _ index: Int, _ deliver: (Handle, Completion) -> Void) {
    if entries[index].wantsInput, !entries[index].hasStash {
      deliver(entries[index].handle, .received(bytes))
    } else {
      stash(index) { $0.bytes.append(contentsOf: bytes) }
    }
  }

  private func take(socket: Int32, _ index: Int, _ deliver: (Handle, Completion) -> Void) {
    if entries[index].wantsInput, !entries[index].hasStash {
      deliver(entries[index].handle, .accepted(descriptor: socket))
    } else {
      stash(index) { $0.sockets.append(socket) }
    }
  }

  /// `result` is 0 or a negated errno. Some mean only that the operation has to be started again, as the caller does.
  private func take(end result: Int32, _ index: Int, _ deliver: (Handle, Completion) -> Void) {
    switch -result {
    // Cancelled; no free buffer, which a turn later there is.
    case ECANCELED, ENOBUFS, EINTR, EAGAIN: return
    case let failure where entries[index].isListener && Sockets.diedInBacklog(errno: failure): return
    default: break
    }
    guard entries[index].wantsInput, !entries[index].hasStash else { return stash(index) { $0.end = -result } }
    deliverEnd(-result, index, deliver)
  }

  private func deliverEnd(_ errno: Int32, _ index: Int, _ deliver: (Handle, Completion) -> Void) {
    entries[index].wantsInput = false
    let handle = entries[index].handle
    if entries[index].isListener {
      deliver(handle, .acceptFailed(errno: errno))
    } else {
      deliver(handle, errno == 0 ? .receivedEnd : .failed(errno: errno))
    }
  }

  private func sendCompleted(_ handle: Handle, _ result: Int32, _ deliver: (Handle, Completion) -> Void) {
    guard let index = index(of: handle) else { return letGo(handle) }
    entries[index].isSending = false
    deliver(handle, result > 0 ? .sent(count: Int(result)) : .failed(errno: -result))
  }

  private func connectCompleted(_ handle: Handle, _ result: Int32, _ deliver: (Handle, Completion) -> Void) {
    addresses.removeValue(forKey: handle)?.deallocate()
    guard let index = index(of: handle) else { return letGo(handle) }
    entries[index].isConnecting = false
    deliver(handle, .connected(errno: -result))
  }

  /// One of the operations that a closed handle waits for has ended.
  private func letGo(_ handle: Handle) {
    guard var rest = closing[handle] else { return }
    rest.inFlight -= 1
    closing[handle] = rest.inFlight > 0 ? rest : nil
    if rest.inFlight == 0 { Glibc.close(rest.descriptor) }
  }

  // MARK: What came during a pause

  private func stash(_ index: Int, _ change: (inout UringStash) -> Void) {
    let handle = entries[index].handle
    change(&stashes[handle, default: UringStash()])
    entries[index].hasStash = true
  }

  /// Delivers what handles were sent before they asked to go on; then their operations start anew.
  private func serveReady(_ deliver: (Handle, Completion) -> Void) {
    swap(&ready, &working)
    for handle in working {
      guard let index = index(of: handle), entries[index].wantsInput, let stash = stashes.removeValue(forKey: handle)
      else { continue }
      entries[index].hasStash = false
      serve(stash, index, deliver)
    }
    working.removeAll(keepingCapacity: true)
  }

  /// In portions, since each may make the owner pause; what is left then waits again.
  private func serve(_ stash: UringStash, _ index: Int, _ deliver: (Handle, Completion) -> Void) {
    let handle = entries[index].handle
    var rest = stash
    while isWanted(handle), let socket = rest.sockets.popLast() { deliver(handle, .accepted(descriptor: socket)) }
    while isWanted(handle), rest.delivered < rest.bytes.count {
      let portion = rest.delivered..<min(rest.delivered + Self.portion, rest.bytes.count)
      rest.bytes.withUnsafeBytes { deliver(handle, .received(UnsafeRawBufferPointer(rebasing: $0[portion]))) }
      rest.delivered = portion.upperBound
    }
    guard let index = self.index(of: handle) else {
      for socket in rest.sockets { Glibc.close(socket) }
      return
    }
    if !entries[index].wantsInput {
      guard !rest.isEmpty else { return }
      entries[index].hasStash = true
      stashes[handle] = rest
    } else if let end = rest.end {
      deliverEnd(end, index, deliver)
    } else {
      arm(index)
    }
  }

  private func isWanted(_ handle: Handle) -> Bool { index(of: handle).map { entries[$0].wantsInput } ?? false }

  @inline(__always)
  private func index(of handle: Handle) -> Int? {
    let index = handle.index
    guard index < entries.count, entries[index].handle == handle, entries[index].descriptor >= 0 else { return nil }
    return index
  }
}
