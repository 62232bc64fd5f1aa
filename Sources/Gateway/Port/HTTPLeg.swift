import Reactor
import TLSTransport

/// The way of one decrypted HTTPS connection to whoever answers it; the client's end is a `ClientChannel`.
class HTTPLeg: TLSChannel {
  private(set) var client: ClientChannel?

  init(client: ClientChannel) {
    self.client = client
    super.init(reactor: client.reactor, records: client.worker.records)
  }

  /// The client's bytes.
  func forward(_ bytes: UnsafeRawBufferPointer) { write(bytes) }

  override func plaintextReceived(_ bytes: UnsafeRawBufferPointer) {
    guard let client else { return }
    if !client.deliverHTTP(bytes) { pauseReceiving() }
  }

  override func drained() { client?.resumeReceiving() }
  override func plaintextEnded() { close() }
  override func failed(errno: Int32) { close() }

  override func willClose() {
    let client = self.client
    self.client = nil
    client?.finish()
  }
}

/// Who is behind an HTTPS connection.
public struct HTTPCaller: Sendable {
  /// DER of the client certificate, verified by TLS; `nil` without one.
  public let certificate: [UInt8]?
  /// Numeric address.
  public let address: String
  /// DER of the certificate of the host that vouches for both; `nil` if the caller came here directly.
  public let voucher: [UInt8]?
}

/// Where decrypted HTTPS goes.
public enum HTTPUpstream: Sendable {
  /// To the HTTP server of this process.
  case server(HTTPServerSocket)
  /// To the port of an Auth Service on another host.
  case forward(HTTPForwarding)

  func open(_ caller: HTTPCaller, client: ClientChannel) -> HTTPLeg? {
    switch self {
    case .server(let socket): HTTPBridge.open(socket, caller, client: client)
    case .forward(let forwarding): HTTPForwarder.open(forwarding, caller, client: client)
    }
  }
}
