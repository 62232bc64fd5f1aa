/// Answer of `GET` and `POST /v1/hosts/audit`: where the Auth Service's copy of the calling host's audit log ends.
///
/// The body of the `POST` is lines of that log as they are, the first being the one after `last`; those that the copy has
/// already are passed over. `?gap=1` says that the host has none of those before any more. 409: the first line is a later
/// one.
public struct AuditPlace: Codable, Sendable, Equatable {
  /// Number of the last record, 0 for none.
  public var last: Int
  /// SHA-256 of its line, in hex.
  public var digest: String

  public init(last: Int, digest: String) {
    self.last = last
    self.digest = digest
  }

  /// Bytes of a body: a batch, or one record that is longer.
  public static let maximumBody = 5 << 20
}

/// A database session that runs now.
public struct SessionListing: Codable, Sendable, Equatable {
  /// Its ID: `sid` of its audit records.
  public var id: String
  public var user: String
  /// Name of the database in the cluster.
  public var database: String
  public var databaseUser: String
  public var databaseName: String
  /// ID of the host whose Database Service serves it.
  public var host: String
  /// As in audit records: `2025-01-31T12:00:00.000Z`.
  public var started: String
  public var clientAddress: String

  public init(
    id: String, user: String, database: String, databaseUser: String, databaseName: String, host: String,
    started: String, clientAddress: String
  ) {
    self.id = id
    self.user = user
    self.database = database
    self.databaseUser = databaseUser
    self.databaseName = databaseName
    self.host = host
    self.started = started
    self.clientAddress = clientAddress
  }
}

/// Answer of `GET /v1/sessions`: oldest first.
public struct SessionListings: Codable, Sendable {
  public var sessions: [SessionListing]
  /// How many there are; more than are listed if they exceed `maximum`.
  public var total: Int

  public static let maximum = 10_000

  public init(sessions: [SessionListing], total: Int) {
    self.sessions = sessions
    self.total = total
  }
}
