import AccessControl

/// A database that a Database Service serves, as far as the Auth Service needs to know it.
public struct RegisteredDatabase: Sendable {
  /// Its name in the cluster.
  public let name: String
  /// Shown in listings; may be empty.
  public let description: String
  /// `HOST:PORT`, shown in listings; never dialled from here.
  public let uri: String
  /// What roles select it by.
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
