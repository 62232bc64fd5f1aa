import PostgresWire
import Reactor

/// A program on this machine: from its first packet to the relay.
///
/// Stages only move forward: `greeting` (tunnel only: who asks for what), `preparing` (certificate, dial), `relay`.
final class LocalClient: Channel {
  private enum Stage { case greeting, preparing, relay, over }
  private enum Tag: UInt8 {
    case startup = 1
    case preparation, dial
  }

  let worker: LocalWorker
  private var stage = Stage.greeting
  private var pending: [UInt8] = []
  private var hasAskedForTLS = false
  private var hasAskedForGSS = false
  private var deadline: Reactor.Timer?
  private var remote: RemoteLeg?
  /// The first bytes for the cluster: a startup message or a cancel request.
  private var opening: [UInt8] = []
  /// Where the cluster's messages end. It judges nothing: the gateway has judged them already, and here it is only asked
  /// whether a message of our own may be put between them.
  private var walker = MessageWalker()

  /// Bytes that may wait for one side before the other is no longer read.
  static let highMark = 256 * 1024
  static let lowMark = 64 * 1024

  init(worker: LocalWorker) {
    self.worker = worker
    super.init(reactor: worker.reactor)
  }

  private var isTunnel: Bool { if case .tunnel = worker.settings.mode { true } else { false } }

  func begin() {
    worker.clientCount += 1
    guard isTunnel else { return prepare() }
    start(.startup, worker.settings.startupDeadline)
    resumeReceiving()
  }

  private func start(_ tag: Tag, _ milliseconds: UInt64) {
    if let deadline { reactor.cancel(deadline) }
    deadline = reactor.startTimer(for: self, tag: tag.rawValue, after: milliseconds)
  }

  // MARK: Greeting

  override func received(_ bytes: UnsafeRawBufferPointer) {
    switch stage {
    case .relay: relay(bytes)
    case .greeting: readGreeting(bytes)
    case .preparing, .over: break
    }
  }

  private func readGreeting(_ bytes: UnsafeRawBufferPointer) {
    guard pending.count + bytes.count <= StartupPacket.maximumLength else { return close() }
    pending.append(contentsOf: bytes)
    do {
      guard let (request, consumed) = try pending.withUnsafeBytes({ try StartupPacket.parse($0) }) else { return }
      guard consumed == pending.count else {
        throw WireError(.protocolViolation, "received data after the startup packet")
      }
      pending = []
      try answer(request)
    } catch let error as WireError {
      refuse(error)
    } catch {
      close()
    }
  }

  private func answer(_ request: StartupRequest) throws {
    switch request {
    case .ssl:
      guard !hasAskedForTLS else { throw WireError(.protocolViolation, "TLS was asked for twice") }
      hasAskedForTLS = true
      send([UInt8(ascii: "N")])
    case .gssEncryption:
      guard !hasAskedForGSS else { throw WireError(.protocolViolation, "GSS encryption was asked for twice") }
      hasAskedForGSS = true
      send([UInt8(ascii: "N")])
    case .cancel(let processID, let secret):
      opening = Encode.cancelRequest(processID: processID, secret: secret)
      prepare()
    case .startup(let parameters):
      guard worker.clientCount <= worker.settings.maximumConnections else {
        throw WireError(.tooManyConnections, "too many connections to this proxy")
      }
      guard case .tunnel(let user, let database) = worker.settings.mode else { return close() }
      if let negotiation = parameters.negotiation { send(negotiation) }
      opening = try parameters.relayed(
        user: user ?? parameters.user, database: database ?? parameters.database,
        replication: parameters.wantsReplication)
      prepare()
    }
  }

  // MARK: Preparing

  private func prepare() {
    stage = .preparing
    pauseReceiving()
    start(.preparation, worker.settings.preparationDeadline)
    let (handle, mailbox, source) = (handle, reactor.mailbox, worker.source)
    Task {
      let result = await source.upstream()
      // A full mailbox leaves the client to its deadline.
      mailbox.post { reactor in (reactor.channel(handle) as? LocalClient)?.prepared(result) }
    }
  }

  private func prepared(_ result: Result<Upstream, WireError>) {
    guard stage == .preparing else { return }
    switch result {
    case .failure(let error): refuse(error)
    case .success(let upstream):
      start(.dial, worker.settings.dialDeadline)
      RemoteLeg.dial(upstream, client: self)
    }
  }

  func attach(_ remote: RemoteLeg) { self.remote = remote }

  func remoteReady() {
    guard stage == .preparing, let remote else { return }
    stage = .relay
    if let deadline { reactor.cancel(deadline) }
    deadline = nil
    remote.write(opening)
    opening = []
    resumeReceiving()
  }

  // MARK: Relay

  private func relay(_ bytes: UnsafeRawBufferPointer) {
    guard let remote else { return }
    remote.write(bytes)
    if remote.queuedBytes > Self.highMark {
      pauseReceiving()
      remote.notifyWhenQueued(atMost: Self.lowMark)
    }
  }

  /// Bytes of the cluster, unchanged. Returns whether the client keeps up.
  func deliver(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if isTunnel { walker.walk(bytes) }
    send(bytes)
    guard queuedBytes > Self.highMark else { return true }
    notifyWhenQueued(atMost: Self.lowMark)
    return false
  }

  override func drained() { remote?.resumeReceiving() }

  // MARK: Ends

  /// The other side is over: an orderly end, or with the reason where there is one.
  func remoteEnded(_ error: WireError?) {
    remote = nil
    if let error { refuse(error) } else { end() }
  }

  private func refuse(_ error: WireError) {
    if isTunnel, walker.isAtMessageBoundary, stage != .over { send(Encode.errorResponse(error)) }
    end()
  }

  private func end() {
    guard stage != .over else { return }
    stage = .over
    remote?.clientEnded()
    remote = nil
    closeAfterSending()
  }

  override func receivedEnd() { end() }
  override func failed(errno: Int32) { close() }

  override func timerFired(tag: UInt8) {
    switch Tag(rawValue: tag) {
    case .startup: close()
    case .preparation:
      refuse(WireError(.cannotConnect, "nobody answered the question for a new login in time"))
    case .dial: refuse(WireError(.cannotConnect, "the cluster's proxy did not answer in time"))
    case nil: break
    }
  }

  override func reactorStopping() {
    refuse(WireError(.adminShutdown, "the local proxy is shutting down", hint: "Start 'tsh proxy db' again."))
  }

  override func willClose() {
    stage = .over
    remote?.clientEnded()
    remote = nil
    worker.clientCount -= 1
  }
}
