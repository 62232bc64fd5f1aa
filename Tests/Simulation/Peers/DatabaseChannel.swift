import Reactor
import TLS
import TLSTransport

/// How one database behaves towards one connection.
package struct DatabaseConduct: Sendable {
  package enum Login: Sendable { case trust, cleartext, rejects, asksForScram }
  package enum Flaw: Sendable, Equatable {
    case none
    case silentBeforeTLS, silentBeforeLogin, silentBeforeReady
    case refusesTLS, speaksInTheClear
    /// Sends a message of no known type in place of its n-th answer.
    case breaksProtocol(Int)
    /// Closes in place of its n-th answer, or in the middle of it.
    case leaves(Int, inMessage: Bool)
  }

  package var login = Login.trust
  package var flaw = Flaw.none
  /// Bytes that are written at once, and milliseconds until the next; 0: all at once.
  package var piece = 0
  package var pause: UInt64 = 0

  package init() {}
}

/// Takes the connections to a database, or to whatever else listens among the peers.
final class PeerListener: Channel {
  private let make: (Reactor) -> DatabaseChannel

  init(reactor: Reactor, make: @escaping (Reactor) -> DatabaseChannel) {
    self.make = make
    super.init(reactor: reactor)
  }

  override func accepted(descriptor: Int32) {
    let channel = make(reactor)
    guard (try? reactor.sockets.tuneForSession(descriptor)) != nil,
      (try? reactor.add(channel, descriptor: descriptor)) != nil
    else { return }
    channel.resumeReceiving()
  }
}

/// A PostgreSQL server's end of one connection: TLS, a login, and answers by `Answers`.
final class DatabaseChannel: TLSChannel {
  private enum Stage { case request, startup, password, session, over }
  private enum Tag: UInt8 {
    case piece = 1
    case sleep
  }
  private static let longestSleep: UInt64 = 20_000

  private let book: Book
  private let conduct: DatabaseConduct
  private let context: ServerTLSContext
  /// Called with each message of a session, before it is answered.
  var onMessage: ((UInt8) -> Void)?

  private var stage = Stage.request
  private var opening: [UInt8] = []
  private var splitter = MessageSplitter()
  private var record: DatabaseRecord?
  private var answers = Answers(session: 0)
  private var answered = 0
  private var isSleeping = false
  private var sleepTimer: Reactor.Timer?
  private var outgoing: [UInt8] = []
  private var isWriting = false

  init(reactor: Reactor, records: TLSWorkspace, book: Book, conduct: DatabaseConduct, context: ServerTLSContext) {
    self.book = book
    self.conduct = conduct
    self.context = context
    super.init(reactor: reactor, records: records)
  }

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    switch stage {
    case .request:
      opening.append(contentsOf: bytes)
      if opening == Say.sslRequest { answerRequest() } else if opening.count >= 8 { close() }
    case .startup:
      opening.append(contentsOf: bytes)
      readStartup()
    case .password:
      splitter.append(bytes)
      if splitter.next() != nil { letIn() }
    case .session:
      record?.received.append(contentsOf: bytes)
      splitter.append(bytes)
      serve()
    case .over: break
    }
  }

  // MARK: Login

  private func answerRequest() {
    opening = []
    switch conduct.flaw {
    case .silentBeforeTLS: return
    case .refusesTLS: return write([UInt8(ascii: "N")])
    case .speaksInTheClear: return write(Array("Sand more".utf8))
    default: break
    }
    stage = .startup
    write([UInt8(ascii: "S")])
    secureAsServer(context, requiresALPN: false, first: nil)
  }

  private func readStartup() {
    guard opening.count >= 4 else { return }
    let length = opening[..<4].reduce(0) { $0 << 8 | Int($1) }
    guard opening.count >= length, length >= 8 else { return }
    let body = opening[8..<length]
    opening = []
    // Eight bytes of parameters could not even name a user.
    if length == 16 {
      book.cancel(body.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }, Array(body.suffix(4)))
      return finish()
    }
    let words = body.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    let name = words.firstIndex(of: "application_name").flatMap { $0 + 1 < words.count ? Int(words[$0 + 1]) : nil }
    let record = book.newDatabase(session: name ?? -1)
    self.record = record
    record.onCancel = { [weak self] in self?.awake(isCancelled: true) }
    answers = Answers(session: record.session)
    guard conduct.flaw != .silentBeforeLogin else { return }
    stage = .password
    switch conduct.login {
    case .trust: letIn()
    case .cleartext: write(Say.message("R", Say.word(3)))
    case .asksForScram: write(Say.message("R", Say.word(10) + Say.text("SCRAM-SHA-256") + [0]))
    case .rejects:
      stage = .over
      write(Say.error("28P01", "password authentication failed", severity: "FATAL"))
      finish()
    }
  }

  private func letIn() {
    guard let record else { return close() }
    guard conduct.login != .asksForScram else {
      stage = .over
      write(Say.error("28P01", "password authentication failed", severity: "FATAL"))
      return finish()
    }
    splitter = MessageSplitter()
    stage = .session
    record.parameters =
      Say.message("S", Say.text("server_version") + Say.text("15.0"))
      + Say.message("S", Say.text("session") + Say.text("\(record.session)"))
    var greeting = Say.message("R", Say.word(0)) + record.parameters
    guard conduct.flaw != .silentBeforeReady else { return write(greeting) }
    greeting += Say.message("K", Say.word(record.key.processID) + record.key.secret) + Say.ready
    record.isReady = true
    write(greeting)
  }

  // MARK: Session

  private func serve() {
    while stage == .session, !isSleeping, let message = splitter.next() {
      onMessage?(message.type)
      guard !isClosed else { return }
      switch answers.answer(message) {
      case .answer(let bytes): answer(bytes)
      case .terminate:
        stage = .over
        finish()
      case .sleep:
        isSleeping = true
        sleepTimer = reactor.startTimer(for: self, tag: Tag.sleep.rawValue, after: Self.longestSleep)
      }
    }
  }

  private func awake(isCancelled: Bool) {
    guard isSleeping, !isClosed else { return }
    isSleeping = false
    if let sleepTimer { reactor.cancel(sleepTimer) }
    let outcome =
      isCancelled ? Say.error("57014", "canceling statement") : Say.message("C", Say.text("SELECT 1"))
    answer(outcome + Say.ready)
    serve()
  }

  private func answer(_ bytes: [UInt8]) {
    guard !bytes.isEmpty else { return }
    answered += 1
    switch conduct.flaw {
    case .breaksProtocol(let count) where count == answered: put([1, 0, 0, 0, 9, 1, 2, 3, 4, 5] + bytes)
    case .leaves(let count, let inMessage) where count == answered:
      if inMessage { put(Array(bytes.dropLast())) }
      stage = .over
      if outgoing.isEmpty { finish() }
    default: put(bytes)
    }
  }

  private func put(_ bytes: [UInt8]) {
    guard conduct.piece > 0 else {
      record?.sent += bytes
      return write(bytes)
    }
    outgoing += bytes
    if !isWriting { writePiece() }
  }

  private func writePiece() {
    let part = Array(outgoing.prefix(conduct.piece))
    outgoing.removeFirst(part.count)
    record?.sent += part
    write(part)
    isWriting = !outgoing.isEmpty
    if isWriting {
      _ = reactor.startTimer(for: self, tag: Tag.piece.rawValue, after: conduct.pause)
    } else if stage == .over {
      finish()
    }
  }

  override func timerFired(tag: UInt8) {
    switch Tag(rawValue: tag) {
    case .piece: writePiece()
    case .sleep: awake(isCancelled: false)
    case nil: break
    }
  }

  override func plaintextEnded() { close() }
  override func failed(errno: Int32) { close() }
  override func tlsFailed(_ failure: TLSFailure) { close() }
}
