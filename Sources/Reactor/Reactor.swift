import Glibc

/// One thread's event loop: channels, timers and posted work over a completion back end.
///
/// Everything here belongs to the thread that calls `run`; other threads reach it through `mailbox` alone.
public final class Reactor {
  /// Which of its process's reactors this is, from 0.
  public let index: Int
  /// The way in from other threads.
  public let mailbox: Mailbox
  /// Monotonic milliseconds, read once a loop turn, after the wait.
  public private(set) var now: UInt64

  /// What the channels of this reactor share; set once, before the loop begins.
  public var context: AnyObject?

  /// Makes the sockets that channels of this reactor are added with.
  public var sockets: any SocketSource { backend.sockets }

  let backend: Backend
  let chunks = ChunkPool()
  /// Channels with fresh outgoing bytes; alive until the end of the turn, since closing defers release.
  var dirty: [Unmanaged<Channel>] = []

  private var channels: Slab
  private var timers: TimerWheel
  private var isStopping = false

  /// Reserved timer tags: the reactor handles these itself.
  static let lingerTag: UInt8 = 255
  static let acceptTag: UInt8 = 254
  /// A listener that ran out of descriptors tries again after this many milliseconds.
  private static let acceptPause: UInt64 = 250

  /// A started timer.
  public struct Timer { fileprivate var id: TimerWheel.ID }

  /// - Parameters:
  ///   - interface: must be one that this process may use: see `KernelInterface.best()`.
  ///   - maximumChannels: sockets at once, listeners included.
  public convenience init(
    index: Int, over interface: KernelInterface = .epoll, maximumChannels: Int = 1 << 20
  ) throws(SystemError) {
    self.init(index: index, try Backend(interface), maximumChannels, mailboxCapacity: Self.mailboxCapacity)
  }

  /// A reactor over a kernel of the caller's, for `turn` to be called on.
  package convenience init(
    index: Int, over backend: any CompletionBackend, maximumChannels: Int = 1 << 20,
    mailboxCapacity: Int = mailboxCapacity
  ) {
    self.init(
      index: index, .injected(InjectedBackend(backend)), maximumChannels, mailboxCapacity: mailboxCapacity)
  }

  private init(index: Int, _ backend: Backend, _ maximumChannels: Int, mailboxCapacity: Int) {
    self.index = index
    self.backend = backend
    mailbox = Mailbox(waker: backend.waker, capacity: mailboxCapacity)
    channels = Slab(capacity: maximumChannels)
    now = backend.now
    timers = TimerWheel(now: now)
  }

  /// Jobs that may wait in the mailbox.
  package static let mailboxCapacity = 1 << 16

  /// How many channels are open.
  public var channelCount: Int { channels.count }

  // MARK: Channels

  /// Takes ownership of `descriptor` for `channel`; on failure the descriptor is closed.
  public func add(_ channel: Channel, descriptor: Int32) throws(SystemError) {
    guard let handle = channels.insert(channel) else {
      sockets.close(descriptor)
      throw SystemError(call: "add channel", errno: EMFILE)
    }
    do throws(SystemError) {
      try backend.register(descriptor, as: handle)
    } catch {
      channels.remove(handle)
      sockets.close(descriptor)
      throw error
    }
    channel.opened(as: handle)
  }

  /// Starts accepting on an added listener.
  public func accept(_ listener: Channel) { backend.accept(listener.handle) }

  /// Starts connecting an added channel.
  public func connect(_ channel: Channel, to address: SocketAddress) { backend.connect(channel.handle, to: address) }

  /// The open channel that `handle` names, or `nil` if it has gone, however often its place was reused since.
  public func channel(_ handle: Handle) -> Channel? { channels.lookUp(handle)?.takeUnretainedValue() }

  func replace(with channel: Channel) { channels.replace(channel.handle, with: channel) }
  /// Calls `body` for every open channel; it may close any of them.
  public func forEachChannel(_ body: (Channel) -> Void) {
    for handle in channels.handles { if let channel = channel(handle) { body(channel) } }
  }

  func remove(_ channel: Channel) {
    backend.close(channel.handle, keeping: channel)
    channels.remove(channel.handle)
  }

  // MARK: Timers

  /// Calls `channel.timerFired(tag:)` after `milliseconds`, unless cancelled or the channel has closed.
  public func startTimer(for channel: Channel, tag: UInt8, after milliseconds: UInt64) -> Timer {
    Timer(id: timers.start(owner: channel.handle, tag: tag, deadline: now &+ milliseconds))
  }

  /// Forgets a timer; harmless if it has fired.
  public func cancel(_ timer: Timer) { timers.cancel(timer.id) }

  /// When the next timer is due, by the back end's clock; `nil` without timers.
  package var nextTimer: UInt64? { timers.wait(now: now).map { now &+ $0 } }

  // MARK: Loop

  /// Runs until `stop()`; then every channel is told and given `grace` milliseconds to say goodbye.
  public func run(grace: UInt64 = 2_000) {
    while !isStopping { turn(atMost: .max) }
    sayGoodbye()
    let deadline = now &+ grace
    while channels.count > 0, now < deadline { turn(atMost: 100) }
    closeAll()
  }

  /// Tells every channel that the reactor stops.
  package func sayGoodbye() {
    for handle in channels.handles { channel(handle)?.reactorStopping() }
  }

  /// The very end: closes what is left, the mailbox last. Who posts from then on hears that it is closed.
  package func closeAll() {
    for handle in channels.handles { channel(handle)?.close() }
    // It may well hold the reactor in its turn. Without it no job begins anything.
    context = nil
    // What they ask for is gone, but a decision among them has to be accounted for.
    for job in mailbox.close() { job(self) }
    channels.buryDeparted()
    // Channels that it kept would keep the reactor, and so it.
    backend.finish()
  }

  /// Ends `run`. On the reactor's own thread; from others: `mailbox.post { $0.stop() }`.
  public func stop() { isStopping = true }

  /// One turn of the loop, which waits `limit` milliseconds at most.
  package func turn(atMost limit: UInt64) {
    sendDirty()
    let wait = min(timers.wait(now: now) ?? .max, limit)
    backend.poll(timeoutMilliseconds: wait == .max ? -1 : Int32(min(wait, 60_000))) {
      now = backend.now
    } deliver: { handle, completion in
      complete(handle, completion)
    }
    for job in mailbox.takeAll() { job(self) }
    while let (owner, tag) = timers.popExpired(now: now) { fireTimer(owner, tag) }
    sendDirty()
    channels.buryDeparted()
  }

  private func complete(_ handle: Handle, _ completion: Completion) {
    guard let channel = channels.lookUp(handle) else {
      if case .accepted(let descriptor) = completion { sockets.close(descriptor) }
      return
    }
    // The slab keeps the channel alive to the end of the turn, so no reference count needs to move here.
    channel._withUnsafeGuaranteedRef { channel in
      switch completion {
      case .received(let bytes): channel.received(bytes)
      case .sent(let count): channel.sent(count)
      case .receivedEnd: channel.receivedEnd()
      case .failed(let errno): channel.failed(errno: errno)
      case .connected(let errno): channel.connected(errno: errno)
      case .accepted(let descriptor): channel.accepted(descriptor: descriptor)
      case .acceptFailed(let errno):
        channel.acceptFailed(errno: errno)
        if !channel.isClosed { _ = startTimer(for: channel, tag: Self.acceptTag, after: Self.acceptPause) }
      }
    }
  }

  private func fireTimer(_ owner: Handle, _ tag: UInt8) {
    guard let channel = channel(owner) else { return }
    switch tag {
    case Self.lingerTag: channel.close()
    case Self.acceptTag: backend.accept(owner)
    default: channel.timerFired(tag: tag)
    }
  }

  /// One send a channel and turn, however many messages were queued: corking by turn.
  private func sendDirty() {
    var position = 0
    while position < dirty.count {
      dirty[position]._withUnsafeGuaranteedRef { $0.submitSend() }
      position += 1
    }
    dirty.removeAll(keepingCapacity: true)
  }
}
