import PostgresWire
import Reactor
import Secrets
import TLS

/// What opens one connection to a database: where it is, and as whom to log in.
public struct ServerLogin: Sendable {
  /// Checked addresses of the database, tried in order.
  public let addresses: [SocketAddress]
  public let tls: ClientTLSContext
  /// The name the database's certificate must carry, also sent as SNI.
  public let serverName: String
  public let user: String
  public let password: Secret?
  /// The password was fetched earlier and may have been replaced since: one refusal is worth one retry.
  public let isPasswordCached: Bool
  /// Runs SCRAM's key derivation, away from the reactor; may remember results.
  public let deriveKeys: @Sendable (ScramDerivation) throws(AuthenticationFailure) -> ScramKeys
  /// The keys, if they are remembered and at hand. On the reactor: never waits.
  public let rememberedKeys: @Sendable (ScramDerivation) -> ScramKeys?
  /// Milliseconds from now for which password or certificate are good; `nil`: for ever.
  public let validity: UInt64?

  public init(
    addresses: [SocketAddress], tls: ClientTLSContext, serverName: String, user: String, password: Secret?,
    isPasswordCached: Bool,
    deriveKeys: @escaping @Sendable (ScramDerivation) throws(AuthenticationFailure) -> ScramKeys,
    rememberedKeys: @escaping @Sendable (ScramDerivation) -> ScramKeys? = { _ in nil }, validity: UInt64? = nil
  ) {
    self.addresses = addresses
    self.tls = tls
    self.serverName = serverName
    self.user = user
    self.password = password
    self.isPasswordCached = isPasswordCached
    self.deriveKeys = deriveKeys
    self.rememberedKeys = rememberedKeys
    self.validity = validity
  }
}

/// Whoever has a connection to a database opened, and hears what becomes of it. Bound to the reactor's thread.
protocol ServerOwner: AnyObject {
  /// The connection was begun (again, when an earlier address did not answer).
  func attach(_ server: ServerLeg)
  /// The database refused or could not be reached.
  ///
  /// - Parameter link: which link of the way to it broke, if one did.
  func serverFailed(_ error: WireError, rejectedPassword: Bool, at link: LoginLink?)
  /// The database let us in; nothing is relayed until `ServerChannel.begin(for:)`.
  func serverLoggedIn(_ server: ServerChannel)
}
