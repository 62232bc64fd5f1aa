import Glibc
import Reactor

/// The HTTP server of this process: a private Unix socket, and the book in which callers are entered.
public struct HTTPServerSocket: Sendable {
  public let socketPath: String
  /// Client sockets are bound to fresh names in this directory; the HTTP server sees the name as the peer's address.
  public let clientDirectory: String
  /// Enters who is behind a client socket name, before it connects.
  public let register: @Sendable (_ path: String, _ caller: HTTPCaller) -> Void
  /// Strikes it out when the connection is over.
  public let remove: @Sendable (_ path: String) -> Void

  public init(
    socketPath: String, clientDirectory: String,
    register: @escaping @Sendable (_ path: String, _ caller: HTTPCaller) -> Void,
    remove: @escaping @Sendable (_ path: String) -> Void
  ) {
    self.socketPath = socketPath
    self.clientDirectory = clientDirectory
    self.register = register
    self.remove = remove
  }

  static func clientPath(in directory: String, _ number: UInt64) -> String {
    "\(directory)/c-\(String(number, radix: 36))"
  }

  /// The longest name that a client socket in `directory` can get, to be checked before it is needed.
  public static func longestClientPath(in directory: String) -> String { clientPath(in: directory, .max) }
}

/// Carries one decrypted HTTPS connection to the HTTP server on its private Unix socket.
///
/// The server learns who calls from the name the socket is bound to, entered in its book beforehand, and from nothing
/// that the caller can write.
final class HTTPBridge: HTTPLeg {
  private let path: String
  private let server: HTTPServerSocket

  static func open(_ server: HTTPServerSocket, _ caller: HTTPCaller, client: ClientChannel) -> HTTPBridge? {
    var random = SystemRandomNumberGenerator()
    let path = HTTPServerSocket.clientPath(in: server.clientDirectory, .random(in: .min ... .max, using: &random))
    guard let local = SocketAddress(unixPath: path), let remote = SocketAddress(unixPath: server.socketPath),
      let descriptor = try? Sockets.open(AF_UNIX, boundTo: local)
    else { return nil }
    server.register(path, caller)
    let bridge = HTTPBridge(path: path, server: server, client: client)
    guard (try? client.reactor.add(bridge, descriptor: descriptor)) != nil else {
      server.remove(path)
      unlink(path)
      return nil
    }
    client.reactor.connect(bridge, to: remote)
    // The connection keeps the name; the directory need not.
    unlink(path)
    return bridge
  }

  private init(path: String, server: HTTPServerSocket, client: ClientChannel) {
    self.path = path
    self.server = server
    super.init(client: client)
  }

  override func connected(errno: Int32) {
    guard errno == 0 else { return close() }
    resumeReceiving()
  }

  override func willClose() {
    server.remove(path)
    super.willClose()
  }
}
