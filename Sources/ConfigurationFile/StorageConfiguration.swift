/// `teleport.storage`: where the Auth Service keeps the cluster's state.
public enum StorageConfiguration: Sendable, Equatable {
  /// A file of SQLite in data_dir.
  case sqlite
  /// A PostgreSQL, which several Auth Services may share; the connection string may hold a password.
  case postgresql(connectionString: String)

  init(_ section: YAMLSection) throws {
    try section.allow(["type", "conn_string"])
    let connectionString = try section.string("conn_string")
    switch try section.string("type") ?? "sqlite" {
    case "sqlite":
      guard connectionString == nil else {
        throw section.complaint("conn_string", "is for type postgresql; set that, or remove it")
      }
      self = .sqlite
    case "postgresql":
      guard let connectionString, !connectionString.isEmpty else {
        throw section.complaint(
          "conn_string", "is missing, such as postgresql://USER@HOST/DATABASE?sslmode=verify-full")
      }
      self = .postgresql(connectionString: connectionString)
    default: throw section.complaint("type", "must be sqlite or postgresql")
    }
  }
}
