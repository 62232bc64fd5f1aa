import Glibc
import Reactor

/// Carries one decrypted HTTPS connection to the HTTP server on its private Unix socket.
///
/// The server learns who calls from the name the socket is bound to, entered in its book beforehand, and from nothing
/// that the caller can write.
final class HTTPBridge: Channel {
  private let path: String
  private let upstream: HTTPUpstream
  private var client: ClientChannel?

  static func open(_ upstream: HTTPUpstream, certificate: [UInt8]?, client: ClientChannel) -> HTTPBridge? {
    var random = SystemRandomNumberGenerator()
    let path = HTTPUpstream.clientPath(
      in: upstream.clientDirectory, UInt64.random(in: .min ... .max, using: &random))
    guard let local = SocketAddress(unixPath: path), let remote = SocketAddress(unixPath: upstream.socketPath),
      let descriptor = try? Sockets.open(AF_UNIX, boundTo: local)
    else { return nil }
    upstream.register(path, certificate, client.address)
    let bridge = HTTPBridge(path: path, upstream: upstream, client: client)
    guard (try? client.reactor.add(bridge, descriptor: descriptor)) != nil else {
      upstream.remove(path)
      unlink(path)
      return nil
    }
    client.reactor.connect(bridge, to: remote)
    // The connection keeps the name; the directory need not.
    unlink(path)
    return bridge
  }

  private init(path: String, upstream: HTTPUpstream, client: ClientChannel) {
    self.path = path
    self.upstream = upstream
    self.client = client
    super.init(reactor: client.reactor)
  }

  override func connected(errno: Int32) {
    guard errno == 0 else { return close() }
    resumeReceiving()
  }

  override func received(_ bytes: UnsafeRawBufferPointer) {
    guard let client else { return }
    if !client.deliverHTTP(bytes) { pauseReceiving() }
  }

  override func drained() { client?.resumeReceiving() }
  override func receivedEnd() { close() }
  override func failed(errno: Int32) { close() }

  override func willClose() {
    upstream.remove(path)
    let client = self.client
    self.client = nil
    client?.finish()
  }
}
