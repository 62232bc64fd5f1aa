import PostgresWire
import Reactor

/// A client of a pool in mode transaction: holds a server connection from its first request to the end of its transaction.
///
/// Requests reach the connection with its names of prepared statements in place of the client's; answers that the client did
/// not cause are kept from it. `ClientLeg` passes on what it hears, and stays the session's face towards everybody else.
final class TransactionSession: ServerTaker {
  private unowned let client: ClientLeg
  let pool: TransactionPool
  private(set) var server: ServerChannel?
  var requests = MessageWalker()
  var answers = MessageWalker()
  var owed = AnswerQueue()
  var names: StatementNames
  /// What the client has been told of parameters.
  var told = ParameterBook()
  var tag = CommandTag()

  /// Of the message of the client that is at hand, as far as it has to be read.
  var body: [UInt8] = []
  var handling = Handling.pass
  enum Handling {
    /// Goes on as it is.
    case pass
    /// Is not wanted by the database.
    case skip
    /// Is read when it is whole.
    case whole
    /// Its names, at the beginning, have to be read.
    case names
  }

  /// For the connection, until the end of the client's bytes at hand.
  var output: [UInt8] = []
  /// Requests that wait for a connection.
  private var held: [UInt8] = []
  private(set) var isWaiting = false
  private var isLeaving = false
  private var isHeldUp = false
  private var isOver = false
  /// The connection is outside a transaction and owes nothing.
  var isSettled = true
  private var waitTimer: Reactor.Timer?

  /// Answers that may be owed before the client is no longer read; a turn's worth of messages may come on top.
  private static let maximumOwed = 10_000

  init(_ client: ClientLeg, _ pool: TransactionPool) {
    self.client = client
    self.pool = pool
    names = StatementNames(pool)
  }

  // MARK: ServerTaker

  var plan: PoolPlan? { nil }
  func expect(_ server: ServerChannel) {}
  func tryAgain() { if !isOver { pool.want(self, isFirst: true) } }

  /// The connection that was waited for.
  func take(_ server: ServerChannel) {
    stopWaiting()
    // Who has left in the meantime needs none, who logs in only what is known of it.
    guard !isOver else { return server.giveBack() }
    guard client.phase == .relay else {
      if let parameters = server.pooled?.parameters { welcome(parameters) }
      return server.giveBack()
    }
    use(server)
    let bytes = held
    held = []
    bytes.withUnsafeBytes { process($0) }
    if isLeaving, !isOver { leave() } else { letOn() }
  }

  // MARK: Login

  func welcome(_ parameters: ParameterBook) {
    told = parameters
    client.poolReady(
      ServerGreeting(parameterStatus: parameters.encoded, transactionStatus: UInt8(ascii: "I")))
  }

  // MARK: Waiting

  func waits(atMost milliseconds: UInt64) {
    guard waitTimer == nil else { return }
    waitTimer = client.startWaitTimer(after: milliseconds)
  }

  func waitExpired() {
    waitTimer = nil
    guard isWaiting || client.phase == .login else { return }
    client.worker.counters.pool.timeouts &+= 1
    refused(
      WireError(
        .tooManyConnections, "no connection to the database was free within query_wait_timeout",
        hint: "Try again later, or have pool_size of the database's pool raised."))
  }

  /// There will be no connection.
  func refused(_ error: WireError, at link: LoginLink? = nil) {
    stopWaiting()
    client.poolFailed(error, at: link)
  }

  private func stopWaiting() {
    isWaiting = false
    if let waitTimer { client.reactor.cancel(waitTimer) }
    waitTimer = nil
  }

  /// The client asks to cancel what it waits for; PgBouncer ends it then, too.
  func cancelWait() {
    guard isWaiting else { return }
    refused(WireError(.queryCanceled, "the query was cancelled while it waited for a connection to the database"))
  }

  // MARK: Requests

  /// Bytes of the client that its scanner has let pass.
  func request(_ bytes: UnsafeRawBufferPointer) {
    guard isWaiting else { return process(bytes) }
    held.append(contentsOf: bytes)
    if held.count > ClientLeg.highMark { holdUp() }
  }

  /// The client says goodbye after `bytes`.
  func terminate(after bytes: UnsafeRawBufferPointer) {
    isLeaving = true
    request(bytes)
    if !isWaiting, !isOver { leave() }
  }

  private func leave() {
    server?.write(Encode.terminate())
    client.endSession("client terminated")
  }

  private func process(_ bytes: UnsafeRawBufferPointer) {
    var position = 0
    while let part = requests.next(bytes, &position) {
      if part.isFirst, server == nil, Self.needsServer(part.type) {
        guard let free = pool.takeNow() else {
          return hold(part, UnsafeRawBufferPointer(rebasing: bytes[position...]))
        }
        use(free)
      }
      handle(part)
      if isOver { return }
    }
    flush()
    settle()
  }

  /// CopyData, CopyDone, CopyFail and Flush mean nothing to a database that is ready for a query.
  private static func needsServer(_ type: UInt8) -> Bool {
    switch type {
    case UInt8(ascii: "d"), UInt8(ascii: "c"), UInt8(ascii: "f"), UInt8(ascii: "H"): false
    default: true
    }
  }

  /// Keeps a message that has begun and what follows, and waits for a connection.
  private func hold(_ part: MessageWalker.Part, _ rest: UnsafeRawBufferPointer) {
    held = FrontendMessage.header(part.type, bodyLength: part.bodyLength) + Array(part.bytes) + Array(rest)
    requests = MessageWalker()
    isWaiting = true
    pool.want(self)
  }

  private func flush() {
    if owed.count > Self.maximumOwed {
      // Without it the database may keep answers back until a Sync that is not read now. Not into a message's middle.
      if handling != .pass || requests.isAtMessageBoundary { output += Encode.flush() }
      holdUp()
    }
    guard !output.isEmpty else { return }
    if let server {
      server.write(output)
      if server.queuedBytes > ClientLeg.highMark {
        holdUp()
        server.notifyWhenQueued(atMost: ClientLeg.lowMark)
      }
    }
    // A rare long statement is not to stay in memory.
    output.removeAll(keepingCapacity: output.count <= ClientLeg.highMark)
  }

  // MARK: Connection

  private func use(_ server: ServerChannel) {
    self.server = server
    answers = MessageWalker()
    server.serve(client)
    client.attach(server)
    restoreParameters(on: server)
  }

  /// What the client has set, where the connection's last client left something else.
  private func restoreParameters(on server: ServerChannel) {
    guard let current = server.pooled?.parameters, let query = SharedParameters.query(from: current, to: told) else {
      return
    }
    owed.append(.init(kind: .query, audience: .nobody))
    server.pooled?.statements.unnamed = .none
    output += Encode.query(query)
    isSettled = false
  }

  /// Lets go of the connection once nothing keeps it.
  func settle() {
    guard isSettled, let server, requests.isAtMessageBoundary else { return }
    self.server = nil
    client.detach()
    server.giveBack()
    // A client that does not read its answers is not to ask for more of them.
    if client.queuedBytes > ClientLeg.highMark { holdUp() } else { letOn() }
  }

  // MARK: Flow

  private func holdUp() {
    isHeldUp = true
    client.pauseReceiving()
  }

  /// The client may go on, unless there is still a reason against it.
  func letOn() {
    guard isHeldUp, !isWaiting, owed.count <= Self.maximumOwed, server?.queuedBytes ?? 0 <= ClientLeg.highMark else {
      return
    }
    isHeldUp = false
    client.resumeReceiving()
  }

  // MARK: Ends

  /// Nothing is under way.
  var isAtRest: Bool { server == nil && !isWaiting && requests.isAtMessageBoundary }

  /// The session is over; whatever connection it holds ends with it.
  func end() {
    guard !isOver else { return }
    isOver = true
    stopWaiting()
    server = nil
    names.removeAll()
    pool.leave(self)
  }

  /// Ends the session for a fault that leaves its connection unusable.
  func fail(_ reason: String, _ error: WireError) { client.endSession(reason, telling: error) }

  /// Bytes for the client; the connection is not read on until it keeps up.
  func deliver(_ bytes: UnsafeRawBufferPointer) {
    if !bytes.isEmpty, !client.deliver(bytes) { server?.pauseReceiving() }
  }
}
