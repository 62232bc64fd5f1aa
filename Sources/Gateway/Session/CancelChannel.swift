import Glibc
import PostgresWire
import Reactor
import TLS
import TLSTransport

/// A short connection that asks the database to cancel one session's query; the answer is its closing.
final class CancelChannel: TLSChannel {
  private static let deadline: UInt64 = 10_000

  private let request: [UInt8]
  private let grant: SessionGrant
  private let address: SocketAddress
  private var isAwaitingAnswer = true

  /// Sends the database's own key to the address the session is connected to.
  static func send(_ key: LoginCollector.BackendKey, grant: SessionGrant, address: SocketAddress, worker: Worker) {
    let channel = CancelChannel(key, grant: grant, address: address, worker: worker)
    // A cancel that cannot be delivered is lost, as libpq's is: the protocol has no answer for it.
    guard let descriptor = try? worker.reactor.sockets.open(address.family),
      (try? worker.reactor.add(channel, descriptor: descriptor)) != nil
    else { return }
    _ = channel.reactor.startTimer(for: channel, tag: 1, after: deadline)
    channel.reactor.connect(channel, to: address)
  }

  private init(_ key: LoginCollector.BackendKey, grant: SessionGrant, address: SocketAddress, worker: Worker) {
    request = Encode.cancelRequest(processID: key.processID, secret: key.secret)
    self.grant = grant
    self.address = address
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
    secureAsClient(grant.tls, serverName: grant.serverName, resumingWith: address)
  }

  override func secured() { write(request) }
  override func plaintextEnded() { close() }
  override func failed(errno: Int32) { close() }
  override func tlsFailed(_ failure: TLSFailure) { close() }
  override func timerFired(tag: UInt8) { close() }
}
