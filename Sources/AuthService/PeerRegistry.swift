import Synchronization

/// Who is behind a connection to the API's private socket.
public struct Peer: Sendable {
  /// DER of the client certificate, verified by TLS; `nil` for callers without one.
  public let certificate: [UInt8]?
  /// Numeric address of the client.
  public let remoteAddress: String
  /// DER of the certificate of the proxy that the caller came through; `nil` if it came directly.
  public let voucher: [UInt8]?

  public init(certificate: [UInt8]?, remoteAddress: String, voucher: [UInt8]? = nil) {
    self.certificate = certificate
    self.remoteAddress = remoteAddress
    self.voucher = voucher
  }
}

/// The book of callers: entered by the gateway under the name its socket is bound to, looked up by the API server.
///
/// Identity so depends on the connection alone; no header can claim one. Thread-safe.
public final class PeerRegistry: Sendable {
  private let peers = Mutex<[String: Peer]>([:])

  /// An empty book.
  public init() {}

  /// Enters who is behind the socket bound to `path`; to be done before it connects.
  public func register(path: String, _ peer: Peer) { peers.withLock { $0[path] = peer } }

  /// Strikes `path` out once its connection is over.
  public func remove(path: String) { peers.withLock { $0[path] = nil } }

  func peer(path: String) -> Peer? { peers.withLock { $0[path] } }
}
