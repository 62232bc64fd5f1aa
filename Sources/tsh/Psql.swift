import ArgumentParser
import ControlClient
import Foundation
import Glibc

/// Becoming psql.
enum Psql {
  /// Replaces this process by psql from PATH: terminal, signals and exit code are psql's own from here on.
  ///
  /// - Returns: never, unless psql cannot be started.
  static func run(environment: [String: String], arguments: [String]) throws -> ExitCode {
    for (key, value) in environment { setenv(key, value, 1) }
    // A service or a password of the user's own would override what was just set.
    for key in ["PGSERVICE", "PGPASSWORD", "PGHOSTADDR"] { unsetenv(key) }
    var pointers = (["psql"] + arguments).map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    // This runs on a thread of Dispatch, which blocks signals there; the mask would outlive the exec, and with it ctrl-C
    // would never reach psql.
    var none = sigset_t()
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, nil)
    execvp("psql", &pointers)
    throw ToolError(
      "cannot run psql: \(String(cString: strerror(errno)))",
      hint: "install it, on Debian: apt-get install postgresql-client")
  }
}
