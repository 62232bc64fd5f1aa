import Foundation
import Glibc
import PKI
import StateStore

/// Where the cluster's state is kept.
public enum StateStorage: Sendable {
  /// In SQLite under the data directory, for its owner alone.
  case sqlite
  /// In a PostgreSQL that other Auth Services may share.
  case postgresql(ConnectionSettings)
}

/// The cluster's state.
///
/// Thread-safe. A second process on the same directory is refused; a damaged file is refused rather than replaced, since
/// a fresh CA over an old one would lock every client out.
final class ClusterState: Sendable {
  let database: any StateStore
  private let lock: Int32

  /// Where the state of `dataDirectory` lives; its being there means that the host holds a cluster.
  static func path(in dataDirectory: String) -> String { dataDirectory + "/state.sqlite" }

  /// - Parameter changed: called after each change of what hosts decide by, by whichever Auth Service.
  init(dataDirectory: String, storage: StateStorage, changed: @escaping @Sendable () -> Void) throws {
    try PrivateFile.makeDirectory(dataDirectory)
    lock = open(dataDirectory + "/lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard lock >= 0, flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      throw AuthError.internal("another process uses \(dataDirectory), or it is not writable; stop that one first")
    }
    switch storage {
    case .sqlite:
      database = try SQLiteStore(
        path: try Self.privateFile(in: dataDirectory), migrations: Self.migrations, changed: changed)
    case .postgresql(let settings):
      database = try PostgresStore(settings, migrations: Self.migrations, changed: changed)
    }
  }

  deinit { close(lock) }

  /// SQLite would make the file with the process's umask: makes it first, private. An existing one must be private.
  private static func privateFile(in dataDirectory: String) throws -> String {
    let path = Self.path(in: dataDirectory)
    let descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
    var status = stat()
    guard descriptor >= 0, fstat(descriptor, &status) == 0 else {
      throw AuthError.internal("cannot open \(path): \(String(cString: strerror(errno)))")
    }
    close(descriptor)
    guard status.st_mode & 0o077 == 0 else {
      throw AuthError.internal("\(path) can be read by others; run 'chmod 600 \(path)' and consider its keys known")
    }
    return path
  }

  /// Counts the changes of what hosts decide by.
  func revision(_ database: Database) throws -> Int64 {
    try Int64.fetchOne(database, sql: "SELECT CAST(value AS BIGINT) FROM setting WHERE name = 'revision'") ?? 0
  }
}
