import TLS

/// What one public port offers and how much of it. Immutable; shared by all reactors.
public struct GatewaySettings: Sendable {
  /// Serves Postgres: the certificate of the host CA, which database clients trust.
  public var postgresTLS: ServerTLSContext
  /// Serves TLS that begins without an SSLRequest: picks certificate and protocol by ALPN.
  public var directTLS: ServerTLSContext
  /// Where decrypted HTTPS goes.
  public var http: HTTPUpstream?
  /// Where it is told what clients ask of databases; `nil`: nowhere.
  public var recording: QueryRecording?
  /// Whether a CancelRequest may come without TLS, as psql up to version 16 sends it.
  public var allowsCancelInClear = true
  /// Connections one reactor serves at once; more are told 53300.
  public var maximumConnections = 20_000
  /// Connections one reactor serves before their login is over.
  public var maximumLogins = 5_000
  /// Milliseconds from accept to a complete startup message.
  public var startupDeadline: UInt64 = 10_000
  /// Milliseconds from there to the database's ReadyForQuery.
  public var loginDeadline: UInt64 = 30_000
  /// Milliseconds a peer may leave our bytes unread before its session is ended.
  public var stallDeadline: UInt64 = 600_000

  public init(postgresTLS: ServerTLSContext, directTLS: ServerTLSContext, http: HTTPUpstream?) {
    self.postgresTLS = postgresTLS
    self.directTLS = directTLS
    self.http = http
  }
}

/// The HTTP server behind the port: a private Unix socket, and the book in which callers are entered.
public struct HTTPUpstream: Sendable {
  public let socketPath: String
  /// Client sockets are bound to fresh names in this directory; the HTTP server sees the name as the peer's address.
  public let clientDirectory: String
  /// Enters who is behind a client socket name, before it connects.
  public let register: @Sendable (_ path: String, _ certificate: [UInt8]?, _ remoteAddress: String) -> Void
  /// Strikes it out when the connection is over.
  public let remove: @Sendable (_ path: String) -> Void

  public init(
    socketPath: String, clientDirectory: String,
    register: @escaping @Sendable (_ path: String, _ certificate: [UInt8]?, _ remoteAddress: String) -> Void,
    remove: @escaping @Sendable (_ path: String) -> Void
  ) {
    self.socketPath = socketPath
    self.clientDirectory = clientDirectory
    self.register = register
    self.remove = remove
  }
}
