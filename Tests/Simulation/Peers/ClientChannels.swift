import Reactor
import TLS
import TLSTransport

/// What one client does.
package struct ClientPlan: Sendable {
  package enum Manner: Sendable, Equatable {
    case polite
    /// Sends bytes of no protocol in place of its first packet.
    case garbage
    case startupInTheClear
    case noCertificate
    /// Does not wait for its login before it asks.
    case impatient
    /// Sends a message of no known type after its n-th request.
    case breaksProtocol(Int)
    /// Ends its stream in the middle of its last request.
    case stopsInMessage
    /// Connects and says nothing.
    case silent
  }
  package enum Ending: Sendable { case terminate, closeNotify, abort, wait }

  package var user = 0
  /// Begins with TLS, without an SSLRequest.
  package var isDirect = false
  package var manner = Manner.polite
  package var requests: [Request] = []
  package var ending = Ending.terminate
  /// Virtual milliseconds after the world's beginning.
  package var start: UInt64 = 0
  /// Between an answer and the next request.
  package var thinkTime: UInt64 = 0
  /// Bytes read before a pause of so many milliseconds; 0: no pause.
  package var readPause: UInt64 = 0
  /// Bytes that are written at once, and milliseconds until the next; 0: all at once.
  package var piece = 0
  package var pause: UInt64 = 0
  /// Milliseconds after its start at which it gives up, however far it is.
  package var abandonAfter: UInt64?
  /// Milliseconds after a sleeping query began.
  package var cancelAfter: UInt64?
  package var cancelsInTheClear = false
  /// Asks to cancel with a key that is not its own, before its own.
  package var guesses = false

  package init() {}
}

/// Where a client has come to, for those who want something to happen there.
package enum Phase: String, CaseIterable, Sendable {
  case startup, authentication, idle, query, copyIn, copyOut, cancel, shutdown
}

/// A libpq's end of one session.
final class SimulatedClient: TLSChannel {
  private enum Stage { case connecting, tlsAnswer, handshake, login, session, over }
  private enum Tag: UInt8 {
    case next = 1
    case read, piece, abandon, cancel, start
  }

  let record: SessionRecord
  private let plan: ClientPlan
  private let identities: Identities
  private let target: SocketAddress
  var onPhase: ((Phase) -> Void)?
  var onCancel: ((_ key: (UInt32, [UInt8]), _ plan: ClientPlan) -> Void)?

  private var stage = Stage.connecting
  private var splitter = MessageSplitter()
  private var key: (processID: UInt32, secret: [UInt8])?
  private var position = 0
  private var cyclesAwaited = 0
  private var outgoing: [UInt8] = []
  private var isWriting = false
  private var isReadingPaused = false
  private var hasSeenCopyOut = false

  init(
    reactor: Reactor, records: TLSWorkspace, record: SessionRecord, plan: ClientPlan, identities: Identities,
    target: SocketAddress
  ) {
    self.record = record
    self.plan = plan
    self.identities = identities
    self.target = target
    super.init(reactor: reactor, records: records)
  }

  func begin() {
    _ = reactor.startTimer(for: self, tag: Tag.start.rawValue, after: plan.start)
    if let abandon = plan.abandonAfter {
      _ = reactor.startTimer(for: self, tag: Tag.abandon.rawValue, after: plan.start + abandon)
    }
  }

  // MARK: Login

  override func connected(errno: Int32) {
    guard errno == 0 else { return close() }
    resumeReceiving()
    onPhase?(.startup)
    switch plan.manner {
    case .silent: return
    case .garbage: return write(Array("GET / HTTP/1.0\r\n\r\n".utf8))
    case .startupInTheClear: return write(startup)
    default: break
    }
    if plan.isDirect {
      stage = .handshake
      secureAsClient(identities.directClients[plan.user], serverName: Identities.serverName)
    } else {
      stage = .tlsAnswer
      write(Say.sslRequest)
    }
  }

  private var startup: [UInt8] {
    Say.startup([("user", "user\(plan.user)"), ("database", "dev"), ("application_name", "\(record.number)")])
  }

  override func secured() {
    stage = .login
    write(startup)
    if plan.manner == .impatient { write(Say.query("rows 1 1")) }
    onPhase?(.authentication)
  }

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    switch stage {
    case .tlsAnswer:
      guard bytes.count == 1, bytes[0] == UInt8(ascii: "S") else { return close() }
      stage = .handshake
      let context = plan.manner == .noCertificate ? identities.stranger : identities.clients[plan.user]
      secureAsClient(context, serverName: Identities.serverName)
    case .login, .session: read(bytes)
    case .connecting, .handshake, .over: break
    }
    pauseReading()
  }

  private func pauseReading() {
    guard plan.readPause > 0, stage == .session, !isClosed, !isReadingPaused else { return }
    isReadingPaused = true
    pauseReceiving()
    _ = reactor.startTimer(for: self, tag: Tag.read.rawValue, after: plan.readPause)
  }

  private func read(_ bytes: UnsafeRawBufferPointer) {
    if stage == .session { record.clientReceived.append(contentsOf: bytes) }
    splitter.append(bytes)
    while let message = splitter.next() {
      if message.type == UInt8(ascii: "E"), let text = fatal(message.body) { record.refusal = text }
      if stage == .login { login(message) } else { answer(message) }
      guard !isClosed else { return }
    }
  }

  private func fatal(_ body: ArraySlice<UInt8>) -> String? {
    let text = String(decoding: body, as: UTF8.self)
    return text.hasPrefix("SFATAL\0") ? text.replacing("\0", with: " ") : nil
  }

  private func login(_ message: MessageSplitter.Message) {
    switch message.type {
    case UInt8(ascii: "S"): record.clientParameters += Say.message("S", Array(message.body))
    case UInt8(ascii: "K"):
      key = (message.body.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }, Array(message.body.suffix(4)))
    case UInt8(ascii: "Z"):
      stage = .session
      record.isReady = true
      onPhase?(.idle)
      next()
    default: break
    }
  }

  // MARK: Session

  private func next() {
    guard stage == .session, !isClosed else { return }
    guard position < plan.requests.count else { return end() }
    if plan.thinkTime > 0 {
      _ = reactor.startTimer(for: self, tag: Tag.next.rawValue, after: plan.thinkTime)
    } else {
      ask()
    }
  }

  private func ask() {
    guard stage == .session, !isClosed, position < plan.requests.count else { return }
    let request = plan.requests[position]
    position += 1
    cyclesAwaited = request.cycles
    if case .breaksProtocol(position) = plan.manner { put([2, 0, 0, 0, 4]) }
    if plan.manner == .stopsInMessage, position == plan.requests.count {
      put(Array(request.bytes.dropLast(3)))
      return end()
    }
    put(request.bytes)
    if case .sleep = request {
      onPhase?(.query)
      if let delay = plan.cancelAfter {
        _ = reactor.startTimer(for: self, tag: Tag.cancel.rawValue, after: delay)
      }
    }
  }

  private func answer(_ message: MessageSplitter.Message) {
    switch message.type {
    case UInt8(ascii: "G"):
      guard position > 0 else { return }
      let data = plan.requests[position - 1].copyData
      put(Array(data[..<(data.count / 2)]))
      onPhase?(.copyIn)
      put(Array(data[(data.count / 2)...]))
    case UInt8(ascii: "d"):
      if !hasSeenCopyOut { onPhase?(.copyOut) }
      hasSeenCopyOut = true
    case UInt8(ascii: "Z"):
      cyclesAwaited -= 1
      if cyclesAwaited == 0 { next() }
    default: break
    }
  }

  private func put(_ bytes: [UInt8]) {
    guard !isClosed else { return }
    guard plan.piece > 0 else {
      record.clientSent += bytes
      return write(bytes)
    }
    outgoing += bytes
    if !isWriting { writePiece() }
  }

  private func writePiece() {
    let part = Array(outgoing.prefix(plan.piece))
    outgoing.removeFirst(part.count)
    record.clientSent += part
    write(part)
    isWriting = !outgoing.isEmpty
    if isWriting {
      _ = reactor.startTimer(for: self, tag: Tag.piece.rawValue, after: plan.pause)
    } else if stage == .over {
      leave()
    }
  }

  // MARK: Ends

  private func end() {
    if plan.manner != .stopsInMessage { record.isComplete = true }
    switch plan.ending {
    case .wait: return
    case .terminate:
      if plan.manner != .stopsInMessage { put(Say.terminate) }
    case .closeNotify, .abort: break
    }
    stage = .over
    if !isWriting { leave() }
  }

  private func leave() {
    record.mayBeCancelled = true
    switch plan.ending {
    // A client that has said Terminate closes at once, as libpq does.
    case .terminate, .closeNotify, .wait: finish()
    case .abort: close()
    }
  }

  override func timerFired(tag: UInt8) {
    switch Tag(rawValue: tag) {
    case .start: reactor.connect(self, to: target)
    case .next: ask()
    case .piece: writePiece()
    case .read:
      isReadingPaused = false
      resumeReceiving()
    case .abandon:
      record.mayBeCancelled = true
      close()
    case .cancel: cancel()
    case nil: break
    }
  }

  private func cancel() {
    guard stage == .session, let key else { return }
    if plan.guesses { onCancel?((key.processID, key.secret.map { $0 ^ 1 }), plan) }
    record.mayBeCancelled = true
    onCancel?(key, plan)
    onPhase?(.cancel)
  }

  override func plaintextEnded() { close() }
  override func failed(errno: Int32) { close() }
  override func tlsFailed(_ failure: TLSFailure) { close() }

  override func willClose() {
    // Whatever the cause: from now on nobody reads the answers.
    record.mayBeCancelled = true
    record.isOver = true
  }
}

/// A libpq's cancel request: a connection of its own.
final class SimulatedCancel: TLSChannel {
  private let key: (UInt32, [UInt8])
  private let plan: ClientPlan
  private let identities: Identities

  static func send(
    _ key: (UInt32, [UInt8]), _ plan: ClientPlan, _ identities: Identities, to target: SocketAddress, reactor: Reactor,
    records: TLSWorkspace
  ) {
    let channel = SimulatedCancel(reactor: reactor, records: records, key: key, plan: plan, identities: identities)
    guard let descriptor = try? reactor.sockets.open(target.family),
      (try? reactor.sockets.tuneForSession(descriptor)) != nil,
      (try? reactor.add(channel, descriptor: descriptor)) != nil
    else { return }
    reactor.connect(channel, to: target)
  }

  private init(
    reactor: Reactor, records: TLSWorkspace, key: (UInt32, [UInt8]), plan: ClientPlan, identities: Identities
  ) {
    self.key = key
    self.plan = plan
    self.identities = identities
    super.init(reactor: reactor, records: records)
  }

  override func connected(errno: Int32) {
    guard errno == 0 else { return close() }
    resumeReceiving()
    write(plan.cancelsInTheClear ? Say.cancel(key.0, key.1) : Say.sslRequest)
  }

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    guard tls == nil, bytes.count == 1, bytes[0] == UInt8(ascii: "S") else { return close() }
    secureAsClient(identities.clients[plan.user], serverName: Identities.serverName)
  }

  override func secured() { write(Say.cancel(key.0, key.1)) }
  override func plaintextEnded() { close() }
  override func failed(errno: Int32) { close() }
  override func tlsFailed(_ failure: TLSFailure) { close() }
}
