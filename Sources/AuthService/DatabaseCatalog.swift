import AccessControl
import Synchronization

/// The databases that can be listed and asked certificates for. Thread-safe.
public final class DatabaseCatalog: Sendable {
  private let databases: Mutex<[RegisteredDatabase]>

  public init(_ databases: [RegisteredDatabase]) { self.databases = Mutex(databases) }

  public var all: [RegisteredDatabase] { databases.withLock { $0 } }

  /// Lists `databases` instead, from now on.
  public func use(_ databases: [RegisteredDatabase]) { self.databases.withLock { $0 = databases } }
}

/// A database that a Database Service serves, as far as the Auth Service needs to know it.
public struct RegisteredDatabase: Sendable {
  public let name: String
  public let description: String
  public let uri: String
  public let labels: [String: String]
  /// How roles may write a database user there.
  public let userSpellings: @Sendable (String) -> DatabaseUserSpellings

  public init(
    name: String, description: String, uri: String, labels: [String: String],
    userSpellings: @escaping @Sendable (String) -> DatabaseUserSpellings
  ) {
    self.name = name
    self.description = description
    self.uri = uri
    self.labels = labels
    self.userSpellings = userSpellings
  }
}
