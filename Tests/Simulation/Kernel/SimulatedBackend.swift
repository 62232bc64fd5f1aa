import Glibc
import Reactor

/// The completion contract over a simulated network: what a kernel may do, drawn from the seed, however unlikely.
///
/// Checks its user as it goes: operations on handles that are closed, two sends at once, send buffers that change while
/// they are lent (rule 3), handles that were used before. Bound to one thread, except `waker`.
package final class SimulatedBackend: CompletionBackend {
  private struct Entry {
    var handle: Handle
    let socket: SimulatedSocket
    var wantsInput = false
    var isConnecting = false
    var pendingSend = UnsafeRawBufferPointer(start: nil, count: 0)
    var checksum: UInt64 = 0
    /// Before this time the socket is neither readable nor writable, or its completion has not come.
    var notBefore: UInt64 = 0
  }

  /// A closed handle whose send buffer the kernel still reads.
  private struct Closing {
    let socket: SimulatedSocket
    let owner: AnyObject?
    let bytes: UnsafeRawBufferPointer
    let checksum: UInt64
    let due: UInt64
  }

  package let waker: Waker
  package let host: Int
  let network: SimulatedNetwork
  /// By the handle's index.
  private var entries: [Entry?] = []
  private var generations: [UInt32] = []
  private var closing: [Closing] = []
  private let buffer: UnsafeMutableRawBufferPointer
  private var order: [Int] = []

  private static let poison: UInt8 = 0xdb
  private static let deliveriesPerTurn = 3

  /// - Parameter host: number of the machine whose kernel this is; several reactors may share one.
  package init(_ network: SimulatedNetwork, host: Int) throws(SystemError) {
    self.network = network
    self.host = host
    waker = try Waker()
    buffer = .allocate(byteCount: 64 * 1024, alignment: 64)
    buffer.initializeMemory(as: UInt8.self, repeating: Self.poison)
  }

  deinit {
    for entry in entries { if let socket = entry?.socket { network.close(socket) } }
    for entry in closing { network.close(entry.socket) }
    buffer.deallocate()
  }

  package var now: UInt64 { network.now }
  package var sockets: any SocketSource { self }

  // MARK: Submitting

  package func register(_ descriptor: Int32, as handle: Handle) throws(SystemError) {
    guard let socket = network.socket(descriptor) else { throw SystemError(call: "register", errno: EBADF) }
    while entries.count <= handle.index {
      entries.append(nil)
      generations.append(0)
    }
    if entries[handle.index] != nil { network.violate("handle \(handle.index) names two sockets") }
    if handle.generation <= generations[handle.index] { network.violate("handle \(handle.index) was used before") }
    generations[handle.index] = handle.generation
    entries[handle.index] = Entry(handle: handle, socket: socket)
  }

  package func accept(_ handle: Handle) { change(handle, "accept") { $0.wantsInput = true } }
  package func receive(_ handle: Handle) { change(handle, "receive") { $0.wantsInput = true } }
  package func pause(_ handle: Handle) { change(handle, "pause") { $0.wantsInput = false } }

  package func connect(_ handle: Handle, to address: SocketAddress) {
    change(handle, "connect") { $0.isConnecting = true }
    if let entry = self.entry(handle) { network.connect(entry.socket, to: address.port) }
  }

  package func send(_ handle: Handle, _ bytes: UnsafeRawBufferPointer) {
    change(handle, "send") { entry in
      if entry.pendingSend.count > 0 { network.violate("two sends at once on handle \(handle.index)") }
      if bytes.isEmpty { network.violate("an empty send on handle \(handle.index)") }
      entry.pendingSend = bytes
      entry.checksum = Self.checksum(bytes)
    }
  }

  package func shutdownWrite(_ handle: Handle) {
    change(handle, "shutdown") { _ in }
    if let entry = self.entry(handle) { network.end(entry.socket) }
  }

  package func close(_ handle: Handle, keeping owner: AnyObject?) {
    guard let entry = self.entry(handle) else { return network.violate("handle \(handle.index) was closed twice") }
    entries[handle.index] = nil
    network.trace.note("close", now, host, handle.index, Int(entry.socket.descriptor))
    guard entry.pendingSend.count > 0, entry.socket.state == .open, network.happens(network.temper.readAfterClose)
    else {
      return network.close(entry.socket)
    }
    network.counts.add(.readAfterClose)
    closing.append(
      Closing(
        socket: entry.socket, owner: owner, bytes: entry.pendingSend, checksum: entry.checksum,
        due: now + UInt64.random(in: 0...20, using: &network.random)))
  }

  private func entry(_ handle: Handle) -> Entry? {
    guard entries.indices.contains(handle.index), let entry = entries[handle.index], entry.handle == handle else {
      return nil
    }
    return entry
  }

  private func change(_ handle: Handle, _ operation: StaticString, _ change: (inout Entry) -> Void) {
    guard var entry = self.entry(handle) else {
      return network.violate("\(operation) on handle \(handle.index), which is closed")
    }
    change(&entry)
    entries[handle.index] = entry
  }

  private static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var sum: UInt64 = 0
    var position = 0
    while position + 8 <= bytes.count {
      sum = (sum ^ bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)) &* 0x9e37_79b9_7f4a_7c15
      position += 8
    }
    while position < bytes.count {
      sum = (sum ^ UInt64(bytes[position])) &* 0x9e37_79b9_7f4a_7c15
      position += 1
    }
    return sum
  }

  private func fails(_ perMille: Int) -> Bool { host != network.flawlessHost && network.happens(perMille) }

  // MARK: Time

  /// When there is something to deliver, if nobody else does anything; `nil`: never.
  package var nextTime: UInt64? {
    var next = closing.map(\.due).min()
    for case let entry? in entries {
      guard let time = dueTime(entry) else { continue }
      next = min(next ?? .max, max(time, entry.notBefore))
    }
    return next
  }

  private func dueTime(_ entry: Entry) -> UInt64? {
    let socket = entry.socket
    switch socket.state {
    case .listening: return entry.wantsInput ? socket.backlog.map(\.arrival).min() : nil
    case .connecting: return entry.isConnecting ? socket.connectDue : nil
    case .open, .fresh, .closed:
      if entry.pendingSend.count > 0, canSend(socket) { return 0 }
      return entry.wantsInput ? socket.first?.arrival : nil
    }
  }

  private func canSend(_ socket: SimulatedSocket) -> Bool {
    network.space(socket) > 0 || isBroken(socket) || socket.isWriteClosed
  }

  /// Whether a send would fail: a reset or a time-out has come, though what came before may not be read yet.
  private func isBroken(_ socket: SimulatedSocket) -> Bool {
    socket.inbox[socket.head...].contains {
      guard case .error = $0.end else { return false }
      return $0.arrival <= now
    }
  }

  // MARK: Completions

  package func poll(timeoutMilliseconds: Int32, awoke: () -> Void, deliver: (Handle, Completion) -> Void) {
    if !network.isDriven { passTime(timeoutMilliseconds) }
    if waker.isPending { waker.acknowledge() }
    awoke()
    letGo(until: now)
    order.removeAll(keepingCapacity: true)
    for index in entries.indices {
      guard let entry = entries[index], let due = dueTime(entry), due <= now, entry.notBefore <= now else { continue }
      order.append(index)
    }
    if order.count > 1, network.happens(network.temper.reorder) {
      network.counts.add(.reordered)
      order.shuffle(using: &network.random)
    }
    for index in order {
      guard let handle = entries[index]?.handle else { continue }
      serve(handle, deliver)
    }
  }

  /// Waits as a kernel would, in virtual time; for a wake-up without any time limit in the real one.
  private func passTime(_ timeout: Int32) {
    guard !waker.isPending else { return }
    let next = nextTime
    if timeout >= 0 {
      network.now = max(now, min(next ?? .max, now + UInt64(timeout)))
    } else if let next {
      network.now = max(now, next)
    } else {
      var entry = pollfd(fd: waker.descriptor, events: Int16(POLLIN), revents: 0)
      _ = Glibc.poll(&entry, 1, -1)
    }
  }

  /// The kernel lets go of all that it still holds of closed handles.
  package func flush() {
    letGo(until: .max)
  }

  private func letGo(until limit: UInt64) {
    for entry in closing where entry.due <= limit {
      if Self.checksum(entry.bytes) != entry.checksum {
        network.violate("a send buffer changed after its handle was closed")
      }
      let part = min(network.space(entry.socket), Int.random(in: 0...entry.bytes.count, using: &network.random))
      network.transmit(UnsafeRawBufferPointer(rebasing: entry.bytes[..<part]), from: entry.socket)
      network.close(entry.socket)
    }
    closing.removeAll { $0.due <= limit }
  }

  private func serve(_ handle: Handle, _ deliver: (Handle, Completion) -> Void) {
    guard let entry = self.entry(handle) else { return }
    if network.happens(network.temper.lateCompletion) {
      network.counts.add(.lateCompletion)
      entries[handle.index]?.notBefore = now + UInt64.random(in: 1...50, using: &network.random)
      return
    }
    switch entry.socket.state {
    case .listening: serveAccept(handle, entry.socket, deliver)
    case .connecting: finishConnect(handle, entry.socket, deliver)
    case .open, .fresh, .closed:
      let sendsFirst = !network.happens(network.temper.reorder)
      if sendsFirst { serveSend(handle, deliver) }
      serveReceive(handle, deliver)
      if !sendsFirst { serveSend(handle, deliver) }
    }
  }

  private func serveAccept(_ handle: Handle, _ socket: SimulatedSocket, _ deliver: (Handle, Completion) -> Void) {
    while let position = socket.backlog.firstIndex(where: { $0.arrival <= now }), entry(handle)?.wantsInput == true {
      if fails(network.temper.acceptFailure) {
        network.counts.add(.acceptFailure)
        entries[handle.index]?.wantsInput = false
        network.trace.note("emfile", now, host)
        return deliver(handle, .acceptFailed(errno: EMFILE))
      }
      let accepted = socket.backlog.remove(at: position).socket
      network.trace.note("accept", now, host, Int(accepted.descriptor))
      deliver(handle, .accepted(descriptor: accepted.descriptor))
    }
  }

  private func finishConnect(_ handle: Handle, _ socket: SimulatedSocket, _ deliver: (Handle, Completion) -> Void) {
    entries[handle.index]?.isConnecting = false
    socket.state = socket.connectError == 0 ? .open : .fresh
    network.trace.note("connected", now, host, Int(socket.descriptor), Int(socket.connectError))
    deliver(handle, .connected(errno: socket.connectError))
  }

  private func serveSend(_ handle: Handle, _ deliver: (Handle, Completion) -> Void) {
    guard let entry = self.entry(handle), entry.pendingSend.count > 0, canSend(entry.socket) else { return }
    if network.happens(network.temper.wouldBlock) {
      network.counts.add(.wouldBlock)
      entries[handle.index]?.notBefore = now + UInt64.random(in: 1...200, using: &network.random)
      return
    }
    let bytes = entry.pendingSend
    if Self.checksum(bytes) != entry.checksum { network.violate("a send buffer changed while it was lent") }
    entries[handle.index]?.pendingSend = UnsafeRawBufferPointer(start: nil, count: 0)
    guard !isBroken(entry.socket), !entry.socket.isWriteClosed || entry.socket.link?.isSevered == true else {
      network.trace.note("send failed", now, host, Int(entry.socket.descriptor))
      return deliver(handle, .failed(errno: entry.socket.isWriteClosed ? EPIPE : ECONNRESET))
    }
    if entry.socket.link?.kind == .other, entry.socket.peer?.state == .closed {
      // As a Unix socket's: the far end is known to be closed.
      return deliver(handle, .failed(errno: EPIPE))
    }
    var count = min(network.space(entry.socket), bytes.count)
    if count > 1, network.happens(network.temper.shortWrite) {
      network.counts.add(.shortWrite)
      count = small(count)
    }
    network.trace.note("sent", now, host, Int(entry.socket.descriptor), count)
    network.transmit(UnsafeRawBufferPointer(rebasing: bytes[..<count]), from: entry.socket)
    deliver(handle, .sent(count: count))
  }

  /// One to `count`, often few.
  private func small(_ count: Int) -> Int {
    let limit = network.happens(500) ? min(count, 8) : count
    return Int.random(in: 1...limit, using: &network.random)
  }

  private func serveReceive(_ handle: Handle, _ deliver: (Handle, Completion) -> Void) {
    for _ in 0..<Self.deliveriesPerTurn {
      guard let entry = self.entry(handle), entry.wantsInput, let first = entry.socket.first, first.arrival <= now
      else {
        return
      }
      if let end = first.end { return deliverEnd(end, handle, entry.socket, deliver) }
      if network.happens(network.temper.wouldBlock) {
        network.counts.add(.wouldBlock)
        entries[handle.index]?.notBefore = now + UInt64.random(in: 1...200, using: &network.random)
        return
      }
      let count = fill(entry.socket)
      network.trace.note("received", now, host, Int(entry.socket.descriptor), count)
      deliver(handle, .received(UnsafeRawBufferPointer(rebasing: buffer[..<count])))
      // Whoever kept the loan will find this in its place.
      UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]).initializeMemory(as: UInt8.self, repeating: Self.poison)
    }
  }

  private func deliverEnd(
    _ end: SimulatedSocket.End, _ handle: Handle, _ socket: SimulatedSocket, _ deliver: (Handle, Completion) -> Void
  ) {
    entries[handle.index]?.wantsInput = false
    switch end {
    case .stream:
      socket.dropFirst()
      network.trace.note("end", now, host, Int(socket.descriptor))
      deliver(handle, .receivedEnd)
    case .error(let errno):
      // It stays: later sends fail as well.
      network.trace.note("failed", now, host, Int(socket.descriptor), Int(errno))
      deliver(handle, .failed(errno: errno))
    }
  }

  /// Takes what has arrived, or a part of it, into the buffer.
  private func fill(_ socket: SimulatedSocket) -> Int {
    var limit = buffer.count
    if network.happens(network.temper.shortRead) {
      network.counts.add(.shortRead)
      limit = small(limit)
    }
    if let split = socket.link?.split, split.direction == 1 - socket.direction, split.offset > socket.read {
      limit = min(limit, split.offset - socket.read)
    }
    var filled = 0
    while filled < limit, let segment = socket.first, segment.arrival <= now, segment.end == nil {
      let count = min(limit - filled, segment.bytes.count - segment.start)
      segment.bytes.withUnsafeBytes { bytes in
        UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<filled + count])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[segment.start..<segment.start + count]))
      }
      filled += count
      socket.unread -= count
      socket.read += count
      if segment.start + count == segment.bytes.count {
        socket.dropFirst()
      } else {
        socket.inbox[socket.head].start += count
      }
    }
    return filled
  }
}

// MARK: Sockets

extension SimulatedBackend: SocketSource {
  package func listen(on address: SocketAddress) throws(SystemError) -> Int32 {
    network.listen(address.port, host: host).descriptor
  }

  package func open(_ family: Int32) throws(SystemError) -> Int32 {
    guard !fails(network.temper.socketFailure) else {
      network.counts.add(.socketFailure)
      throw SystemError(call: "socket", errno: EMFILE)
    }
    return network.makeSocket(host: host).descriptor
  }

  package func tuneForSession(_ descriptor: Int32) throws(SystemError) {
    guard let socket = network.socket(descriptor), socket.state != .closed else {
      throw SystemError(call: "setsockopt", errno: EBADF)
    }
    guard !fails(network.temper.tuneFailure) else {
      network.counts.add(.tuneFailure)
      throw SystemError(call: "setsockopt", errno: EINVAL)
    }
    socket.isTuned = true
  }

  package func peerAddress(_ descriptor: Int32) -> SocketAddress? {
    guard let peer = network.socket(descriptor)?.peer, peer.state != .closed else { return nil }
    return SocketAddress(ip: "10.0.0.\(peer.host + 1)", port: 40_000)
  }

  package func close(_ descriptor: Int32) {
    if let socket = network.socket(descriptor) { network.close(socket) }
  }
}
