import Glibc
import PostgresWire
import Reactor
import TLS
import TLSTransport

/// The connection to the cluster's public port for one local client: direct TLS, or the client's own bytes.
final class RemoteLeg: TLSChannel {
  private static let connectDeadline: UInt64 = 5_000

  private let upstream: Upstream
  private let remaining: ArraySlice<SocketAddress>
  private var client: LocalClient?
  private var isConnected = false

  /// Connects to the first address that answers; the client hears of the outcome.
  static func dial(_ upstream: Upstream, client: LocalClient) {
    dial(upstream, upstream.addresses[...], client: client, earlier: "its name has no address")
  }

  private static func dial(
    _ upstream: Upstream, _ addresses: ArraySlice<SocketAddress>, client: LocalClient, earlier: String
  ) {
    guard let address = addresses.first else {
      return client.remoteEnded(
        WireError(
          .cannotConnect, "cannot reach the cluster's proxy \(upstream.serverName): \(earlier)",
          hint: "Check the network, and that 'tsh status' names the right proxy."))
    }
    let leg = RemoteLeg(upstream, addresses.dropFirst(), client: client)
    do {
      let descriptor = try Sockets.open(address.family)
      try client.worker.reactor.add(leg, descriptor: descriptor)
      try Sockets.tuneForSession(descriptor)
    } catch {
      leg.client = nil
      leg.close()
      return dial(upstream, addresses.dropFirst(), client: client, earlier: "\(error)")
    }
    client.attach(leg)
    _ = leg.reactor.startTimer(for: leg, tag: 1, after: connectDeadline)
    leg.reactor.connect(leg, to: address)
  }

  private init(_ upstream: Upstream, _ remaining: ArraySlice<SocketAddress>, client: LocalClient) {
    self.upstream = upstream
    self.remaining = remaining
    self.client = client
    super.init(reactor: client.worker.reactor, records: client.worker.records)
  }

  override func connected(errno: Int32) {
    guard errno == 0 else { return tryNext(SystemError.text(errno)) }
    isConnected = true
    resumeReceiving()
    if let tls = upstream.tls {
      secureAsClient(tls, serverName: upstream.serverName)
    } else {
      client?.remoteReady()
    }
  }

  override func secured() { client?.remoteReady() }

  override func timerFired(tag: UInt8) { if !isConnected { tryNext("no answer in time") } }

  private func tryNext(_ reason: String) {
    guard let client else { return close() }
    self.client = nil
    close()
    Self.dial(upstream, remaining, client: client, earlier: reason)
  }

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    guard let client else { return }
    if !client.deliver(bytes) { pauseReceiving() }
  }

  override func drained() { client?.resumeReceiving() }

  // MARK: Ends

  override func plaintextEnded() { end(nil) }

  override func failed(errno: Int32) {
    isConnected
      ? end(WireError(.connectionFailure, "the connection to the cluster was lost: \(SystemError.text(errno))"))
      : tryNext(SystemError.text(errno))
  }

  override func tlsFailed(_ failure: TLSFailure) {
    end(
      WireError(
        .cannotConnect, "TLS with the cluster's proxy failed: \(failure.message)",
        hint: "Run 'tsh login' and try again."))
  }

  private func end(_ error: WireError?) {
    let client = self.client
    self.client = nil
    client?.remoteEnded(error)
    finish()
  }

  /// What the client sent last still goes out.
  func clientEnded() {
    client = nil
    if isConnected { finish() } else { close() }
  }

  /// The client says goodbye for both.
  override func reactorStopping() { if client == nil { close() } }

  override func willClose() {
    let client = self.client
    self.client = nil
    client?.remoteEnded(nil)
  }
}
