import CPlatform
import Glibc

/// The completion contract over edge-triggered epoll ([epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html)).
///
/// Each descriptor is added once, for both directions, and never modified: interest is kept in `entries` and edges are
/// remembered until they are used. A receive that comes back short has drained the socket, so a request costs one
/// recv(2) and no second call to meet EAGAIN. Bound to the thread that polls it, except `waker`.
public final class EpollBackend: CompletionBackend {
  private enum Kind { case vacant, idle, listener, connecting, stream }

  private struct Entry {
    var kind = Kind.vacant
    var descriptor: Int32 = -1
    var handle = Handle(bits: 0)
    /// An edge was seen and not yet exhausted.
    var isReadable = false
    var isWritable = false
    /// FIN or an error was signalled: a short read does not mean that nothing follows.
    var hasHungUp = false
    /// The owner wants completions of this kind.
    var wantsInput = false
    /// The entry stands in `ready`.
    var isQueued = false
    /// What connect(2) said when it ended at once.
    var pendingConnectError: Int32 = 0
    var pendingSend = UnsafeRawBufferPointer(start: nil, count: 0)
  }

  public let waker: Waker
  private let descriptor: Int32
  private var entries: [Entry] = []
  /// Entries with work that needs no further edge: unread bytes, a submitted send, a connect that ended at once.
  private var ready: [Handle] = []
  private var working: [Handle] = []
  /// Bytes were delivered since this was cleared.
  private var hasReceived = false
  // Invariant: both buffers are owned by this object, live as long as it does and are touched only inside `poll`.
  private let events: UnsafeMutableBufferPointer<epoll_event>
  private let receiveBuffer: UnsafeMutableRawBufferPointer

  private static let wakerBits = UInt64.max
  /// One listener may take this many connections a turn, so that a flood cannot starve sessions.
  private static let acceptsPerTurn = 64

  /// - Parameter receiveBufferSize: bytes taken from one socket in one turn.
  public init(receiveBufferSize: Int = 64 * 1024, eventsPerTurn: Int = 256) throws(SystemError) {
    waker = try Waker()
    descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard descriptor >= 0 else { throw SystemError(call: "epoll_create1", errno: errno) }
    events = .allocate(capacity: eventsPerTurn)
    events.initialize(repeating: epoll_event())
    receiveBuffer = .allocate(byteCount: receiveBufferSize, alignment: 64)
    var event = epoll_event()
    event.events = EPOLLIN.rawValue
    event.data.u64 = Self.wakerBits
    guard epoll_ctl(descriptor, EPOLL_CTL_ADD, waker.descriptor, &event) == 0 else {
      throw SystemError(call: "epoll_ctl", errno: errno)
    }
  }

  deinit {
    for entry in entries where entry.kind != .vacant { Glibc.close(entry.descriptor) }
    Glibc.close(descriptor)
    events.deallocate()
    receiveBuffer.deallocate()
  }

  public func register(_ socket: Int32, as handle: Handle) throws(SystemError) {
    var event = epoll_event()
    event.events = EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | platform_edge_triggered()
    event.data.u64 = handle.bits
    guard epoll_ctl(descriptor, EPOLL_CTL_ADD, socket, &event) == 0 else {
      throw SystemError(call: "epoll_ctl", errno: errno)
    }
    while entries.count <= handle.index { entries.append(Entry()) }
    entries[handle.index] = Entry(kind: .idle, descriptor: socket, handle: handle)
  }

  public func accept(_ handle: Handle) {
    guard let index = index(of: handle) else { return }
    entries[index].kind = .listener
    entries[index].wantsInput = true
    // The first edge may have come and gone before this call.
    entries[index].isReadable = true
    enqueue(index)
  }

  public func connect(_ handle: Handle, to address: SocketAddress) {
    guard let index = index(of: handle) else { return }
    entries[index].kind = .connecting
    let result = address.withSockAddr { Glibc.connect(entries[index].descriptor, $0, $1) }
    if result == 0 || errno != EINPROGRESS {
      entries[index].pendingConnectError = result == 0 ? 0 : errno
      entries[index].isWritable = true
      enqueue(index)
    }
  }

  public func receive(_ handle: Handle) {
    guard let index = index(of: handle) else { return }
    if entries[index].kind == .idle { entries[index].kind = .stream }
    entries[index].wantsInput = true
    if entries[index].isReadable { enqueue(index) }
  }

  public func pause(_ handle: Handle) {
    guard let index = index(of: handle) else { return }
    entries[index].wantsInput = false
  }

  public func send(_ handle: Handle, _ bytes: UnsafeRawBufferPointer) {
    guard let index = index(of: handle) else { return }
    if entries[index].kind == .idle { entries[index].kind = .stream }
    entries[index].pendingSend = bytes
    enqueue(index)
  }

  public func shutdownWrite(_ handle: Handle) {
    guard let index = index(of: handle) else { return }
    // ENOTCONN means that the peer is gone already: the receive side reports that.
    _ = Glibc.shutdown(entries[index].descriptor, Int32(SHUT_WR))
  }

  public func close(_ handle: Handle, keeping owner: AnyObject?) {
    guard let index = index(of: handle) else { return }
    // Closing the last descriptor also removes it from the epoll set; late events fail the generation check.
    Glibc.close(entries[index].descriptor)
    entries[index] = Entry()
  }

  public func poll(timeoutMilliseconds: Int32, awoke: () -> Void, deliver: (Handle, Completion) -> Void) {
    hasReceived = false
    serveReady(deliver)
    // Bytes delivered before the wait may make the owner send something, which must not wait in its turn.
    let timeout = ready.isEmpty && !hasReceived ? timeoutMilliseconds : 0
    let count = epoll_wait(descriptor, events.baseAddress, Int32(events.count), timeout)
    awoke()
    // -1 is EINTR alone here: the arguments are ours. The next turn polls again.
    guard count > 0 else { return }
    for position in 0..<Int(count) {
      let event = events[position]
      if event.data.u64 == Self.wakerBits {
        waker.acknowledge()
      } else if let index = index(of: Handle(bits: event.data.u64)) {
        note(event.events, at: index)
        serve(index, deliver)
      }
    }
  }

  private func note(_ flags: UInt32, at index: Int) {
    if flags & (EPOLLIN.rawValue | EPOLLRDHUP.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0 {
      entries[index].isReadable = true
    }
    if flags & (EPOLLRDHUP.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0 { entries[index].hasHungUp = true }
    if flags & (EPOLLOUT.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0 { entries[index].isWritable = true }
  }

  /// Serves every entry that was queued when the turn began; what they queue anew waits for the next turn.
  private func serveReady(_ deliver: (Handle, Completion) -> Void) {
    swap(&ready, &working)
    for handle in working {
      guard let index = index(of: handle) else { continue }
      entries[index].isQueued = false
      serve(index, deliver)
    }
    working.removeAll(keepingCapacity: true)
  }

  private func serve(_ index: Int, _ deliver: (Handle, Completion) -> Void) {
    let handle = entries[index].handle
    switch entries[index].kind {
    case .listener: serveAccept(index, deliver)
    case .connecting: finishConnect(index, deliver)
    case .stream:
      serveSend(index, deliver)
      // The delivery may have closed this handle and even given its slot to another.
      if self.index(of: handle) != nil { serveReceive(index, deliver) }
    case .idle, .vacant: break
    }
  }

  private func serveAccept(_ index: Int, _ deliver: (Handle, Completion) -> Void) {
    let handle = entries[index].handle
    for _ in 0..<Self.acceptsPerTurn {
      guard self.index(of: handle) != nil, entries[index].wantsInput, entries[index].isReadable else { return }
      let socket = platform_accept(entries[index].descriptor, nil, nil)
      if socket >= 0 {
        deliver(handle, .accepted(descriptor: socket))
        continue
      }
      switch errno {
      case EAGAIN: entries[index].isReadable = false
      case EINTR: continue
      case let failure where Sockets.diedInBacklog(errno: failure): continue
      default:
        entries[index].wantsInput = false
        deliver(handle, .acceptFailed(errno: errno))
        return
      }
    }
    enqueue(index)
  }

  private func finishConnect(_ index: Int, _ deliver: (Handle, Completion) -> Void) {
    guard entries[index].isWritable else { return }
    var failure = entries[index].pendingConnectError
    if failure == 0 {
      var length = socklen_t(MemoryLayout<Int32>.size)
      if getsockopt(entries[index].descriptor, SOL_SOCKET, SO_ERROR, &failure, &length) != 0 { failure = errno }
    }
    entries[index].kind = .idle
    deliver(entries[index].handle, .connected(errno: failure))
  }

  private func serveSend(_ index: Int, _ deliver: (Handle, Completion) -> Void) {
    let pending = entries[index].pendingSend
    guard entries[index].isWritable, pending.count > 0 else { return }
    let count = Glibc.send(entries[index].descriptor, pending.baseAddress, pending.count, Int32(MSG_NOSIGNAL))
    if count > 0 {
      // A short send means a full socket buffer: the next edge comes when it has room again.
      if count < pending.count { entries[index].isWritable = false }
      entries[index].pendingSend = UnsafeRawBufferPointer(start: nil, count: 0)
      deliver(entries[index].handle, .sent(count: count))
    } else if errno == EAGAIN {
      entries[index].isWritable = false
    } else if errno == EINTR {
      enqueue(index)
    } else {
      entries[index].pendingSend = UnsafeRawBufferPointer(start: nil, count: 0)
      deliver(entries[index].handle, .failed(errno: errno))
    }
  }

  private func serveReceive(_ index: Int, _ deliver: (Handle, Completion) -> Void) {
    guard entries[index].isReadable, entries[index].wantsInput else { return }
    let handle = entries[index].handle
    let count = recv(entries[index].descriptor, receiveBuffer.baseAddress, receiveBuffer.count, 0)
    if count > 0 {
      hasReceived = true
      if count < receiveBuffer.count, !entries[index].hasHungUp {
        entries[index].isReadable = false
      } else {
        enqueue(index)
      }
      deliver(handle, .received(UnsafeRawBufferPointer(rebasing: receiveBuffer[..<count])))
    } else if count == 0 {
      entries[index].wantsInput = false
      deliver(handle, .receivedEnd)
    } else if errno == EAGAIN {
      entries[index].isReadable = false
    } else if errno == EINTR {
      enqueue(index)
    } else {
      entries[index].wantsInput = false
      deliver(handle, .failed(errno: errno))
    }
  }

  @inline(__always)
  private func index(of handle: Handle) -> Int? {
    let index = handle.index
    guard index < entries.count, entries[index].handle == handle, entries[index].kind != .vacant else { return nil }
    return index
  }

  private func enqueue(_ index: Int) {
    guard !entries[index].isQueued else { return }
    entries[index].isQueued = true
    ready.append(entries[index].handle)
  }
}
