import Foundation
import GRDB
import Glibc
import PKI

/// The cluster's state on disk: SQLite under the data directory, for its owner alone.
///
/// Thread-safe. A second process on the same directory is refused; a damaged file is refused rather than replaced, since
/// a fresh CA over an old one would lock every client out.
final class ClusterState: Sendable {
  let database: DatabaseQueue
  private let lock: Int32

  /// Where the state of `dataDirectory` lives; its being there means that the host holds a cluster.
  static func path(in dataDirectory: String) -> String { dataDirectory + "/state.sqlite" }

  init(dataDirectory: String) throws {
    try PrivateFile.makeDirectory(dataDirectory)
    lock = open(dataDirectory + "/lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard lock >= 0, flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      throw AuthError.internal("another process uses \(dataDirectory), or it is not writable; stop that one first")
    }
    let path = Self.path(in: dataDirectory)
    // SQLite would make the file with the process's umask: make it first, private. An existing one must be private.
    let descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
    var status = stat()
    guard descriptor >= 0, fstat(descriptor, &status) == 0 else {
      throw AuthError.internal("cannot open \(path): \(String(cString: strerror(errno)))")
    }
    close(descriptor)
    guard status.st_mode & 0o077 == 0 else {
      throw AuthError.internal("\(path) can be read by others; run 'chmod 600 \(path)' and consider its keys known")
    }
    do {
      var configuration = GRDB.Configuration()
      configuration.prepareDatabase { database in
        try database.execute(sql: "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON")
      }
      database = try DatabaseQueue(path: path, configuration: configuration)
      try Self.migrator.migrate(database)
      let verdict = try database.read { try String.fetchOne($0, sql: "PRAGMA quick_check(1)") }
      guard verdict == "ok" else { throw AuthError.internal("\(path) is damaged: \(verdict ?? "no answer")") }
    } catch let error as DatabaseError {
      throw AuthError.internal(
        "\(path) is damaged or not a Sallyport state file (\(error.resultCode)); restore a backup")
    }
  }

  deinit { close(lock) }

  private static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1: users, roles, tokens, invites, authorities, settings") { database in
      try database.create(table: "setting") {
        $0.primaryKey("name", .text)
        $0.column("value", .text).notNull()
      }
      try database.create(table: "authority") {
        $0.primaryKey("kind", .text)
        $0.column("certificate", .text).notNull()
        $0.column("key", .blob).notNull()
      }
      try database.create(table: "role") {
        $0.primaryKey("name", .text)
        $0.column("json", .text).notNull()
      }
      try database.create(table: "user") {
        $0.primaryKey("name", .text)
        $0.column("roles", .text).notNull()
        $0.column("traits", .text).notNull()
        $0.column("password", .text)
      }
      try database.create(table: "token") {
        $0.primaryKey("hash", .text)
        $0.column("roles", .text).notNull()
        $0.column("expires", .double).notNull()
      }
      try database.create(table: "invite") {
        $0.primaryKey("hash", .text)
        $0.column("user", .text).notNull()
        $0.column("expires", .double).notNull()
      }
    }
    migrator.registerMigration("2: second factor") { database in
      try database.create(table: "second_factor") {
        $0.primaryKey("user", .text)
        // Sealed; see SealedSecrets.
        $0.column("secret", .blob).notNull()
        // The last step whose code was accepted: neither it nor an earlier one is accepted again.
        $0.column("last_step", .integer).notNull()
      }
      try database.alter(table: "invite") { $0.add(column: "secret", .blob) }
    }
    migrator.registerMigration("3: hosts and the revision of what they decide by") { database in
      try database.create(table: "host_database") {
        $0.column("host", .text).notNull()
        $0.column("name", .text).notNull()
        $0.column("json", .text).notNull()
        $0.column("expires", .double).notNull()
        $0.primaryKey(["host", "name"])
      }
      try database.create(table: "host_proxy") {
        $0.primaryKey("host", .text)
        $0.column("address", .text).notNull()
        $0.column("expires", .double).notNull()
      }
      try database.execute(sql: "INSERT INTO setting VALUES ('revision', '1')")
      try createRevisionTriggers(on: ["role", "user", "authority", "host_proxy"], database)
    }
    migrator.registerMigration("4: locks") { database in
      try database.create(table: "lock") {
        $0.primaryKey("name", .text)
        $0.column("json", .text).notNull()
        // NULL: it stays until it is removed.
        $0.column("expires", .double)
      }
      try createRevisionTriggers(on: ["lock"], database)
    }
    migrator.registerMigration("7: databases made with tctl") { database in
      try database.create(table: "db") {
        $0.primaryKey("name", .text)
        $0.column("json", .text).notNull()
      }
      try createRevisionTriggers(on: ["db"], database)
    }
    return migrator
  }
}
