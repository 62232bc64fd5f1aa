import TLS

/// What one public port offers and how much of it. Immutable; shared by all reactors.
public struct GatewaySettings: Sendable {
  /// Serves Postgres: the certificate of the host CA, which database clients trust.
  public var postgresTLS: ServerTLSContext
  /// Serves TLS that begins without an SSLRequest: picks certificate and protocol by ALPN.
  public var directTLS: ServerTLSContext
  /// Where decrypted HTTPS goes.
  public var http: HTTPUpstream?
  /// Takes agents' tunnels, on a proxy.
  public var tunnel: TunnelEntrance?
  /// Where it is told what clients ask of databases; `nil`: nowhere.
  public var recording: QueryRecording?
  /// Whether a CancelRequest may come without TLS, as psql up to version 16 sends it.
  public var allowsCancelInClear = true
  /// Connections that are more than that are closed as they come, before they cost a handshake.
  public var limits = AdmissionLimits()
  /// Milliseconds from accept to a complete startup message.
  public var startupDeadline: UInt64 = 10_000
  /// Milliseconds from there to the database's ReadyForQuery.
  public var loginDeadline: UInt64 = 30_000
  /// Milliseconds a connected database may be silent whenever the login waits for it.
  public var databaseDeadline: UInt64 = 10_000
  /// Milliseconds a peer may leave our bytes unread before its session is ended.
  public var stallDeadline: UInt64 = 600_000

  public init(postgresTLS: ServerTLSContext, directTLS: ServerTLSContext, http: HTTPUpstream?) {
    self.postgresTLS = postgresTLS
    self.directTLS = directTLS
    self.http = http
  }
}
