import Glibc
import PostgresWire
import Reactor
import TLS
import TLSTransport

/// A short connection that asks the database to cancel one session's query; the answer is its closing.
final class CancelChannel: TLSChannel {
  private static let deadline: UInt64 = 10_000

  private let request: [UInt8]
  private let login: ServerLogin
  private let address: SocketAddress
  /// The connection whose query is to be given up.
  private let server: Handle
  private var isAwaitingAnswer = true
  private var isSent = false
  private var isAnswered = false

  /// Sends the database's own key to the address that `server` is connected to, which hears of the end if it is pooled.
  ///
  /// - Returns: `false` if nothing is sent.
  static func send(
    _ key: LoginCollector.BackendKey, _ login: ServerLogin, _ address: SocketAddress, for server: ServerChannel
  ) -> Bool {
    let channel = CancelChannel(key, login, address, for: server)
    // A cancel that cannot be delivered is lost, as libpq's is: the protocol has no answer for it.
    guard let descriptor = try? server.reactor.sockets.open(address.family),
      (try? server.reactor.add(channel, descriptor: descriptor)) != nil
    else { return false }
    _ = channel.reactor.startTimer(for: channel, tag: 1, after: deadline)
    channel.reactor.connect(channel, to: address)
    return true
  }

  private init(
    _ key: LoginCollector.BackendKey, _ login: ServerLogin, _ address: SocketAddress, for server: ServerChannel
  ) {
    let worker = server.worker
    request = Encode.cancelRequest(processID: key.processID, secret: key.secret)
    self.login = login
    self.address = address
    self.server = server.handle
    super.init(reactor: worker.reactor, records: worker.records)
  }

  override func connected(errno: Int32) {
    guard errno == 0 else { return close() }
    resumeReceiving()
    write(Encode.sslRequest())
  }

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    guard isAwaitingAnswer, bytes.count == 1, bytes[0] == UInt8(ascii: "S") else { return close() }
    isAwaitingAnswer = false
    secureAsClient(login.tls, serverName: login.serverName, resumingWith: address)
  }

  override func secured() {
    isSent = true
    write(request)
  }

  /// PostgreSQL closes once the signal is sent.
  override func plaintextEnded() {
    isAnswered = isSent
    close()
  }

  override func failed(errno: Int32) { close() }
  override func tlsFailed(_ failure: TLSFailure) { close() }
  override func timerFired(tag: UInt8) { close() }

  override func willClose() {
    (reactor.channel(server) as? ServerChannel)?.pooled?.cancelEnded(isCertain: isAnswered || !isSent)
  }
}
