import Reactor
import TLS

/// A socket that starts in the clear and may turn to TLS; subclasses see plaintext only.
///
/// Bound to the thread of its reactor.
open class TLSChannel: Channel {
  private enum Transport { case clear, handshaking, established }

  /// The session, once a handshake has begun.
  public private(set) var tls: TLSSession?
  private var transport = Transport.clear
  private var isServer = false
  private var hasShutDown = false
  /// The channel that took this one's connection over during the handshake.
  private var successor: TLSChannel?
  private var pace = RecordPace()
  /// What the sessions that the server offers are good for, if they are to be kept.
  private var target: ResumptionCache.Target?
  private let workspace: TLSWorkspace

  /// - Parameter records: shared by all channels of `reactor`.
  public init(reactor: Reactor, records: TLSWorkspace) {
    workspace = records
    super.init(reactor: reactor)
  }

  // MARK: For subclasses

  /// Decrypted (or clear) bytes, borrowed until this call returns.
  open func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {}
  /// The peer will send no more: close_notify, or FIN on a clear connection.
  open func plaintextEnded() {}
  /// The TLS handshake is complete.
  open func secured() {}
  /// TLS is broken or refused; an alert may be on its way out.
  open func tlsFailed(_ failure: TLSFailure) { closeAfterSending() }

  /// Sends `bytes`, encrypted if TLS is on. Takes all of them; callers watch `queuedBytes`.
  public final func write(_ bytes: UnsafeRawBufferPointer) {
    guard !isClosed, !bytes.isEmpty else { return }
    guard transport == .established, let tls else { return send(bytes) }
    let largest = pace.largest(bytes.count, now: reactor.now)
    if let failure = tls.write(bytes, largest: largest) { tlsFailed(failure) }
  }

  /// As above, for short messages.
  public final func write(_ bytes: [UInt8]) { bytes.withUnsafeBytes { write($0) } }

  /// Begins the handshake as server; `first` are bytes that have already arrived.
  public final func secureAsServer(_ context: ServerTLSContext, requiresALPN: Bool, first: UnsafeRawBufferPointer?) {
    isServer = true
    begin(TLSSession(server: context, output: output, requiresALPN: requiresALPN))
    if let first { received(first) }
  }

  /// Begins the handshake as client: the ClientHello goes out at once.
  ///
  /// - Parameter address: where the server is, if sessions with it shall be kept and resumed.
  public final func secureAsClient(
    _ context: ClientTLSContext, serverName: String, resumingWith address: SocketAddress? = nil
  ) {
    target = address.map { .init(context: context.id, serverName: serverName, address: $0.description) }
    let session = target.flatMap { workspace.resumption.take(for: $0, now: reactor.now) }
    begin(TLSSession(client: context, serverName: serverName, output: output, resuming: session))
    advanceHandshake()
  }

  /// To be called when a handshake fails: if it offered to resume a session, none is offered to that server for a while.
  ///
  /// - Returns: whether it did, so that another attempt may well succeed.
  @discardableResult
  public final func giveUpResumption() -> Bool {
    guard transport == .handshaking, tls?.isResuming == true, let target else { return false }
    workspace.resumption.refused(target, now: reactor.now)
    return true
  }

  /// Takes over the connection of `other`, socket and TLS session, from within its `secured()`.
  public final func takeOverSecured(_ other: TLSChannel) {
    guard let session = other.tls, other.transport == .established else { return }
    session.redirectOutput(to: output)
    (tls, transport) = (session, .established)
    (other.tls, other.transport, other.successor) = (nil, .clear, self)
    takeOver(other)
  }

  /// Says goodbye in TLS, sends what is queued and closes.
  public final func finish() {
    if !hasShutDown, transport == .established {
      hasShutDown = true
      tls?.shutdown()
    }
    closeAfterSending()
  }

  // MARK: Channel

  override public final func received(_ bytes: UnsafeRawBufferPointer) {
    switch transport {
    case .clear: plaintextReceived(bytes)
    case .handshaking:
      tls?.setInput(bytes)
      advanceHandshake()
      let holder = successor ?? self
      successor = nil
      if holder.transport == .established, !holder.isClosed { holder.readRecords() }
      holder.tls?.clearInput()
    case .established:
      tls?.setInput(bytes)
      readRecords()
      tls?.clearInput()
    }
  }

  override public final func receivedEnd() { plaintextEnded() }

  // MARK: TLS

  private var output: TLSOutput {
    // Invariant: the session is owned by this channel and writes only while this channel calls it, so the unretained
    // pointer is good whenever the function below runs.
    TLSOutput(
      context: Unmanaged.passUnretained(self).toOpaque(),
      append: { context, bytes, count in
        guard let context else { return }
        let channel = Unmanaged<TLSChannel>.fromOpaque(context)
        channel._withUnsafeGuaranteedRef { $0.send(UnsafeRawBufferPointer(start: bytes, count: count)) }
      },
      claim: { context, count in
        guard let context else { return nil }
        return Unmanaged<TLSChannel>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.sendRoom(count) }
      })
  }

  private func begin(_ session: TLSSession?) {
    guard let session else { return close() }
    tls = session
    transport = .handshaking
  }

  private func advanceHandshake() {
    guard let tls else { return }
    switch tls.handshake() {
    case .needsInput: break
    case .complete:
      transport = .established
      // A server has offered no sessions: OpenSSL has nothing more to hear.
      if isServer { tls.takeRecordsOver(blocks: workspace.blocks) }
      secured()
    case .failed(let failure):
      giveUpResumption()
      tlsFailed(failure)
    }
  }

  /// The first data has come, and what the server had to say to OpenSSL before it.
  private func settle(_ session: TLSSession) {
    if let target {
      workspace.resumption.keep(session.takeSessions(), for: target, now: reactor.now)
      self.target = nil
    }
    session.takeRecordsOver(blocks: workspace.blocks)
  }

  /// Decrypts all records of the current input into the shared buffer and hands them over in one piece.
  private func readRecords() {
    guard let tls else { return }
    let buffer = workspace.plaintext
    var filled = 0
    while !isClosed {
      if buffer.count - filled < TLSSession.roomToRead {
        plaintextReceived(UnsafeRawBufferPointer(rebasing: buffer[..<filled]))
        filled = 0
        continue
      }
      switch tls.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])) {
      case .bytes(let count):
        filled += count
        if !tls.hasOwnRecords { settle(tls) }
        // A read that can only find nothing would make OpenSSL take and free a buffer for it.
        guard tls.hasUnread else { return plaintextReceived(UnsafeRawBufferPointer(rebasing: buffer[..<filled])) }
      case .needsInput:
        if filled > 0 { plaintextReceived(UnsafeRawBufferPointer(rebasing: buffer[..<filled])) }
        return
      case .closed:
        if filled > 0 { plaintextReceived(UnsafeRawBufferPointer(rebasing: buffer[..<filled])) }
        if !isClosed { plaintextEnded() }
        return
      case .failed(let failure):
        if filled > 0 { plaintextReceived(UnsafeRawBufferPointer(rebasing: buffer[..<filled])) }
        if !isClosed { tlsFailed(failure) }
        return
      }
    }
  }
}
