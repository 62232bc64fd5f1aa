/// One socket of a reactor, with its outgoing bytes; subclasses say what incoming bytes mean.
///
/// Bound to the thread of its reactor. A channel lives from `Reactor.add` until `close()`; the reactor keeps it alive.
/// Callbacks are never made from inside `send` or `close`, nor after `close`.
open class Channel {
  /// What this channel is called on its reactor; changes never.
  public private(set) var handle = Handle(bits: 0)

  /// The reactor, while the channel is open. Unowned: the reactor outlives its channels and this must cost nothing.
  public private(set) unowned(unsafe) var reactor: Reactor

  var queue: SendQueue
  var isSending = false
  var isDirty = false
  var drainMark = -1
  private var endAfterSending = false
  private var closeAfterSending = false

  /// Whether `close()` has been called (or the socket never opened).
  public private(set) var isClosed = true

  public init(reactor: Reactor) {
    self.reactor = reactor
    queue = SendQueue(pool: reactor.chunks)
  }

  // MARK: Callbacks

  /// A listener accepted `descriptor`, which now belongs to the callee.
  open func accepted(descriptor: Int32) {}
  /// A listener cannot accept for now; it goes on by itself after a pause.
  open func acceptFailed(errno: Int32) {}
  /// The connect operation ended; 0 means connected.
  open func connected(errno: Int32) {}
  /// Bytes arrived; they are borrowed until this call returns.
  open func received(_ bytes: UnsafeRawBufferPointer) {}
  /// The peer will send nothing more.
  open func receivedEnd() {}
  /// The socket is broken.
  open func failed(errno: Int32) {}
  /// The outgoing bytes have sunk to the mark given to `notifyWhenQueued(atMost:)`.
  open func drained() {}
  /// A timer started for this channel is due.
  open func timerFired(tag: UInt8) {}
  /// The reactor stops; a subclass says goodbye to its peer and closes.
  open func reactorStopping() { close() }

  // MARK: Operations

  /// Bytes that the kernel has not taken yet.
  public final var queuedBytes: Int { queue.count }

  /// Puts a copy of `bytes` behind the outgoing ones; they leave at the end of this loop turn.
  public final func send(_ bytes: UnsafeRawBufferPointer) {
    guard !isClosed, !bytes.isEmpty else { return }
    queue.append(bytes)
    markDirty()
  }

  /// As `send(_:)`, for short control messages.
  public final func send(_ bytes: [UInt8]) { bytes.withUnsafeBytes { send($0) } }

  /// As `send(_:)`, for bytes that the caller writes in place, at once: at most 64 KiB. `nil` if the channel is closed.
  public final func sendRoom(_ count: Int) -> UnsafeMutableRawPointer? {
    guard !isClosed else { return nil }
    markDirty()
    return queue.claim(count)
  }

  /// Asks for one `drained()` as soon as no more than `mark` bytes wait.
  public final func notifyWhenQueued(atMost mark: Int) { drainMark = mark }

  /// Starts, or goes on, receiving.
  public final func resumeReceiving() { if !isClosed { reactor.backend.receive(handle) } }

  /// Stops receiving: bytes stay in the kernel and TCP slows the peer down.
  public final func pauseReceiving() { if !isClosed { reactor.backend.pause(handle) } }

  /// Sends end of stream once everything queued has left.
  public final func sendEnd() {
    endAfterSending = true
    if queue.count == 0, !isSending { finishSending() }
  }

  /// Closes once everything queued has left, or when `deadline` milliseconds are over, whichever is first.
  public final func closeAfterSending(within deadline: UInt64 = 5_000) {
    guard !isClosed else { return }
    closeAfterSending = true
    pauseReceiving()
    if queue.count == 0, !isSending { return close() }
    _ = reactor.startTimer(for: self, tag: Reactor.lingerTag, after: deadline)
  }

  /// Closes at once; queued bytes are dropped. Safe to repeat.
  public final func close() {
    guard !isClosed else { return }
    isClosed = true
    willClose()
    reactor.remove(self)
  }

  /// Takes the open socket of `other` over, under the same handle and with its unsent bytes; `other` is closed by that,
  /// without its socket. For connections whose first bytes tell what they are. Timers stay with the handle: `other`
  /// cancels its own first.
  public final func takeOver(_ other: Channel) {
    guard isClosed, !other.isClosed else { return }
    handle = other.handle
    isClosed = false
    swap(&queue, &other.queue)
    isSending = other.isSending
    other.isSending = false
    other.isClosed = true
    reactor.replace(with: self)
    if queue.count > 0 { markDirty() }
    other.willClose()
  }

  /// Called once, first thing on closing: a subclass lets go of what it shares with others.
  open func willClose() {}

  // MARK: Reactor's side

  final func opened(as handle: Handle) {
    self.handle = handle
    isClosed = false
  }

  final func markDirty() {
    guard !isDirty, !isSending else { return }
    isDirty = true
    reactor.dirty.append(Unmanaged.passUnretained(self))
  }

  final func submitSend() {
    isDirty = false
    guard !isClosed, !isSending, queue.count > 0 else { return }
    isSending = true
    reactor.backend.send(handle, queue.front)
  }

  final func sent(_ count: Int) {
    isSending = false
    queue.consume(count)
    if queue.count > 0 { submitSend() } else { finishSending() }
    if !isClosed, queue.count <= drainMark {
      drainMark = -1
      drained()
    }
  }

  private func finishSending() {
    guard !isClosed else { return }
    if closeAfterSending { return close() }
    if endAfterSending {
      endAfterSending = false
      reactor.backend.shutdownWrite(handle)
    }
  }
}
