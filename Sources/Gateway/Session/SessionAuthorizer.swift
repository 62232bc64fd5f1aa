import PostgresWire
import Reactor
import Secrets
import TLS

/// What a client that proved its certificate asks for.
public struct SessionRequest: Sendable {
  /// DER of the client certificate. TLS has verified it against the user CA, unless it came through a tunnel.
  public let certificate: [UInt8]
  /// Database user and database name of the startup message.
  public let user: String
  public let database: String
  /// Whether the client asked for a replication connection.
  public let wantsReplication: Bool
  public let applicationName: String?
  /// Numeric address of the client.
  public let clientAddress: String
  /// Ends the session from outside, whenever that may be.
  public let control: SessionControl
  /// The password of an earlier grant for this request which the database refused, to be forgotten.
  public internal(set) var rejectedPassword: Secret?
}

/// A way to end one session from any thread, for as long as it lives; harmless afterwards.
public struct SessionControl: Sendable {
  let session: Handle
  let mailbox: Mailbox

  /// Ends the session; the client is told `error` if the protocol has room for it at that moment.
  ///
  /// - Returns: `false` if the reactor has more work than it can take: try again.
  @discardableResult
  public func end(reason: String, telling error: WireError) -> Bool {
    mailbox.post { [session] reactor in
      (reactor.channel(session) as? ClientLeg)?.endSession(reason, telling: error)
    }
  }
}

/// A decision in the client's favour.
public struct SessionGrant: Sendable {
  /// Unique name of the session in logs and audit.
  public let sessionID: String
  /// How to get to the database.
  public let login: ServerLogin
  /// The name of the database that is asked for.
  public let database: String
  /// Ends the session after so many milliseconds without a byte from the client.
  public let idleTimeout: UInt64?
  /// Ends the session after so many milliseconds: the certificate has expired then.
  public let lifetime: UInt64?
  /// The number under which the session's statements are recorded; `nil`: they are not.
  public let recording: UInt64?
  /// How connections to this database outlive their clients; `nil`: they do not.
  public let pool: PoolPlan?

  public init(
    sessionID: String, login: ServerLogin, database: String, idleTimeout: UInt64?, lifetime: UInt64?,
    recording: UInt64? = nil, pool: PoolPlan? = nil
  ) {
    self.sessionID = sessionID
    self.login = login
    self.database = database
    self.idleTimeout = idleTimeout
    self.lifetime = lifetime
    self.recording = recording
    self.pool = pool
  }
}

/// Where a session that may begin leads.
public enum SessionRoute: Sendable {
  /// To the database, from here.
  case database(SessionGrant)
  /// Through a tunnel to one of the agents that serve the database of this name; they decide about the login.
  case agents(database: String)
}

/// How a session ended, for the audit log.
public struct SessionSummary: Sendable {
  public let sessionID: String
  public let reason: String
  public let bytesFromClient: UInt64
  public let bytesFromServer: UInt64
}

/// Decides logins. Called on the Dispatch pool, never on a reactor thread; may take its time within the login deadline.
public protocol SessionAuthorizer: Sendable {
  /// Allows or refuses; a refusal's text is shown to the client.
  func authorize(_ request: SessionRequest) async -> Result<SessionRoute, WireError>
  /// The user a verified certificate belongs to: decides who may cancel whose query.
  func userName(certificate: [UInt8]) -> String?
  /// A cancel request with the session's key came from the holder of another user's certificate.
  ///
  /// - Parameter sessionID: as granted; `nil` on a proxy, whose sessions the agents name.
  func cancelRefused(_ sessionID: String?, certificate: [UInt8], clientAddress: String)
  /// The database let the session in. It begins with the answer: whatever has to be on record by then is.
  ///
  /// - Parameter answer: called once, on any thread, with the reason why the session cannot begin or `nil`.
  func sessionStarting(_ sessionID: String, _ answer: @escaping @Sendable (WireError?) -> Void)
  /// The database let the session in (`nil`) or refused or could not be reached.
  func sessionStarted(_ sessionID: String, failure: WireError?)
  /// A started session is over.
  func sessionEnded(_ summary: SessionSummary)
}
