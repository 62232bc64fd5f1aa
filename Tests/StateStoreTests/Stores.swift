import Foundation
import Synchronization
import Testing

@testable import StateStore

/// Both kinds of database that a state can lie in.
enum Kind: String, CaseIterable, CustomTestStringConvertible {
  case sqlite, postgresql
  var testDescription: String { rawValue }
}

let schema = [
  Migration(
    "1: test",
    [
      "CREATE TABLE setting (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)",
      "CREATE TABLE thing (name TEXT PRIMARY KEY NOT NULL, count BIGINT, weight DOUBLE PRECISION, body BYTEA)",
      "CREATE TABLE aside (name TEXT PRIMARY KEY NOT NULL)",
      "INSERT INTO setting VALUES ('revision', '1')",
    ], counting: ["thing"])
]

/// A state of its own for one test, removed afterwards.
///
/// - Parameter body: is given something that opens the state, as often as wanted.
func withState(
  _ kind: Kind,
  _ body: (_ open: (_ changed: @escaping @Sendable () -> Void) throws -> any StateStore) async throws -> Void
) async throws {
  switch kind {
  case .sqlite:
    let path = NSTemporaryDirectory() + "state-\(UUID().uuidString).sqlite"
    defer { for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) } }
    try await body { try SQLiteStore(path: path, migrations: schema, changed: $0) }
  case .postgresql:
    let settings = try PostgresServer.shared.get().freshSchema()
    try await body { try PostgresStore(settings, migrations: schema, changed: $0) }
  }
}

/// A throwaway PostgreSQL for these tests, stopped when the process ends.
final class PostgresServer: Sendable {
  static let shared = Result { try PostgresServer() }
  private static let running = Mutex<PostgresServer?>(nil)

  private let directory: String
  private let port: Int
  private static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("EndToEnd/postgres.sh").path

  private init() throws {
    directory = "/tmp/state-tests-\(ProcessInfo.processInfo.processIdentifier)"
    port = 20_000 + Int(ProcessInfo.processInfo.processIdentifier) % 10_000
    try run("start", directory, "\(port)")
    Self.running.withLock { $0 = self }
    atexit {
      guard let server = PostgresServer.running.withLock({ $0 }) else { return }
      try? server.run("stop", server.directory)
      try? FileManager.default.removeItem(atPath: server.directory)
    }
  }

  func stop() throws { try run("stop", directory) }
  func restart() throws { try run("restart", directory) }

  /// Settings that lead to an empty schema.
  func freshSchema() throws -> ConnectionSettings {
    let name = "s" + UUID().uuidString.lowercased().replacing("-", with: "")
    let user = getuid() == 0 ? "postgres" : NSUserName()
    // The script's server may lose the last commits when it is killed; a state must not.
    let settings = try ConnectionSettings(
      "host=\(directory) port=\(port) user=\(user) dbname=dev options='-c search_path=\(name) -c synchronous_commit=on'"
    )
    _ = try PostgresConnection(settings).run("CREATE SCHEMA \(name)")
    return settings
  }

  private func run(_ arguments: String...) throws {
    // Not Foundation's Process: it waits until the server, which inherits its socket, has ended too.
    let command = ([Self.script] + arguments).map { "'\($0)'" }.joined(separator: " ")
    guard system(command) == 0 else {
      throw StateError(.unavailable, "postgres.sh \(arguments.joined(separator: " ")) failed; is postgresql installed?")
    }
  }
}
