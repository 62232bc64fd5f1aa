import PostgresWire
import Reactor
import TLS

/// Where the cluster's public port is, and with which certificate to knock there.
public struct Upstream: Sendable {
  /// Tried in order.
  public let addresses: [SocketAddress]
  /// `nil`: bytes pass as they are; the client brings TLS itself.
  public let tls: ClientTLSContext?
  /// The name that the port's certificate must carry.
  public let serverName: String

  public init(addresses: [SocketAddress], tls: ClientTLSContext?, serverName: String) {
    self.addresses = addresses
    self.tls = tls
    self.serverName = serverName
  }
}

/// Says how to reach the cluster, asked once for each connection: certificates expire while the proxy runs.
///
/// Called away from the reactor; may take its time, as long as a person takes to type a password.
public protocol UpstreamSource: Sendable {
  /// A refusal's text is shown to the client.
  func upstream() async -> Result<Upstream, WireError>
}

/// How one local proxy behaves. Immutable.
public struct LocalProxySettings: Sendable {
  public enum Mode: Sendable {
    /// Local clients speak Postgres in the clear; user and database are replaced where they are given.
    case tunnel(user: String?, database: String?)
    /// Clients speak TLS with the cluster's port themselves.
    case passThrough
  }

  public var mode: Mode
  /// Connections at once; more are told 53300.
  public var maximumConnections = 4_000
  /// Milliseconds a client may take to say who it is.
  public var startupDeadline: UInt64 = 10_000
  /// Milliseconds for `UpstreamSource`, which may ask a person.
  public var preparationDeadline: UInt64 = 180_000
  /// Milliseconds to connect and do TLS with the cluster's port.
  public var dialDeadline: UInt64 = 20_000

  public init(mode: Mode) { self.mode = mode }
}
