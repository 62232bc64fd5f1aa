import PostgresWire

/// A grant's word on pooling: whose connections the session may use, and how new ones are opened.
///
/// A class, so that sessions without one, which are most, have room for a reference only.
public final class PoolPlan: Sendable {
  public let settings: PoolSettings
  /// The database's name, for bounds and logs.
  public let database: String
  /// Everything that makes a login of this kind differ from others, but for the startup packet.
  public let identity: PoolIdentity
  /// A login as of now, off the reactor; the parameter is a password that the database has refused.
  public let login: @Sendable (_ rejected: ServerLogin?) async -> Result<ServerLogin, WireError>

  public init(
    settings: PoolSettings, database: String, identity: PoolIdentity,
    login: @escaping @Sendable (_ rejected: ServerLogin?) async -> Result<ServerLogin, WireError>
  ) {
    self.settings = settings
    self.database = database
    self.identity = identity
    self.login = login
  }
}

/// Whose connections they are, as the authorizer sees it: nobody else's equals it.
public struct PoolIdentity: Hashable, Sendable {
  private let value: any Hashable & Sendable

  public init(_ value: any Hashable & Sendable) { self.value = value }

  public static func == (one: Self, other: Self) -> Bool { AnyHashable(one.value) == AnyHashable(other.value) }

  public func hash(into hasher: inout Hasher) { AnyHashable(value).hash(into: &hasher) }
}

/// What two sessions have to have in common to use the same connection, one after the other.
struct PoolKey: Hashable {
  let mode: PoolSettings.Mode
  let identity: PoolIdentity
  /// The startup packet as the database is sent it: parameters given there are what a reset leads back to.
  let startup: [UInt8]

  init(_ plan: PoolPlan, startup: [UInt8]) {
    (mode, identity) = (plan.settings.mode, plan.identity)
    self.startup = startup
  }
}

/// Where a connection goes when its client leaves.
struct PoolMembership {
  let key: PoolKey
  let plan: PoolPlan
  /// In mode transaction.
  var shared: TransactionPool?
}
