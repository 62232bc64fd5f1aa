import ArgumentParser
import ControlClient
import Foundation
import Glibc
import Synchronization

/// Running psql.
enum Psql {
  static let missing = ToolError(
    "psql is not on PATH", hint: "install it, on Debian: apt-get install postgresql-client")

  /// A service or a password of the user's own would override what is set for the session.
  static let unwantedVariables = ["PGSERVICE", "PGPASSWORD", "PGHOSTADDR"]

  /// Replaces this process by psql from PATH: terminal, signals and exit code are psql's own from here on.
  ///
  /// - Returns: never, unless psql cannot be started.
  static func run(environment: [String: String], arguments: [String]) throws -> ExitCode {
    for (key, value) in environment { setenv(key, value, 1) }
    for key in unwantedVariables { unsetenv(key) }
    // Signals are blocked on the threads that run async code, and exec keeps that: ctrl-C must reach psql.
    var none = sigset_t()
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, nil)
    signal(SIGPIPE, SIG_DFL)
    var pointers = (["psql"] + arguments).map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    execvp("psql", &pointers)
    throw failure(errno)
  }

  /// Whether there is a psql, asked before anything else is done.
  static func requirePresence() throws {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    guard folders.contains(where: { FileManager.default.isExecutableFile(atPath: "\($0)/psql") }) else {
      throw missing
    }
  }

  /// Runs psql as a child without input and hands on what it prints, stdout and stderr alike; blocks until it ends.
  ///
  /// The child stays in this process's group and has no signal blocked: ctrl-C on the terminal cancels its query.
  ///
  /// - Returns: its exit code, or 128 and the signal that ended it.
  static func runChild(
    environment: [String: String], arguments: [String], output: (Data) -> Void
  ) throws -> Int32 {
    let (pid, descriptor) = try spawning.withLock { _ in
      var ends: [Int32] = [0, 0]
      guard pipe(&ends) == 0 else { throw failure(errno) }
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      defer { close(ends[1]) }
      do {
        return (try spawn(environment: environment, arguments: arguments, output: ends[1]), ends[0])
      } catch {
        close(ends[0])
        throw error
      }
    }
    let reader = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    while let data = try? reader.read(upToCount: 64 * 1024), !data.isEmpty { output(data) }
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 {
      guard errno == EINTR else { throw failure(errno) }
    }
    // wait(2): the low seven bits are the signal, the next eight the exit code.
    let signal = status & 0x7f
    return signal == 0 ? status >> 8 & 0xff : 128 + signal
  }

  /// One child at a time is started: none inherits the pipe of another before it is marked close-on-exec.
  private static let spawning = Mutex(())

  private static func spawn(
    environment: [String: String], arguments: [String], output: Int32
  ) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var variables = ProcessInfo.processInfo.environment.merging(environment) { _, new in new }
    for key in unwantedVariables { variables[key] = nil }
    let argv = (["psql"] + arguments).map { strdup($0) } + [nil]
    let envp = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var pid: pid_t = 0
    let error = posix_spawnp(&pid, "psql", &actions, &attributes, argv, envp)
    guard error == 0 else { throw failure(error) }
    return pid
  }

  private static func failure(_ number: Int32) -> ToolError {
    number == ENOENT ? missing : ToolError("cannot run psql: \(String(cString: strerror(number)))")
  }
}
