import ArgumentParser
import ControlClient
import Foundation
import Glibc

/// Running psql.
enum Psql {
  static let missing = ToolError("psql is not on PATH", hint: "install it, on Debian: apt-get install postgresql-client")

  /// A service or a password of the user's own would override what is set for the session.
  static let unwantedVariables = ["PGSERVICE", "PGPASSWORD", "PGHOSTADDR"]

  /// Replaces this process by psql from PATH: terminal, signals and exit code are psql's own from here on.
  ///
  /// - Returns: never, unless psql cannot be started.
  static func run(environment: [String: String], arguments: [String]) throws -> ExitCode {
    for (key, value) in environment { setenv(key, value, 1) }
    for key in unwantedVariables { unsetenv(key) }
    var pointers = (["psql"] + arguments).map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    execvp("psql", &pointers)
    throw errno == ENOENT ? missing : ToolError("cannot run psql: \(String(cString: strerror(errno)))")
  }

  /// Where psql is, for those who start it as a child.
  static func path() throws -> String {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    guard let path = folders.map({ "\($0)/psql" }).first(where: FileManager.default.isExecutableFile) else {
      throw missing
    }
    return path
  }
}
