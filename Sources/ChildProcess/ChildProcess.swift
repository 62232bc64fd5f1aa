import CPlatform
import Dispatch
import Foundation
import Glibc

/// Runs a program for what it prints, with bounds on its time and its output.
public enum ChildProcess {
  /// Why there is no output, as the end of a sentence about the program.
  public struct Failure: Error {
    public let reason: String

    public init(reason: String) { self.reason = reason }
  }

  /// Waits block: not on a thread that others need.
  private static let queue = DispatchQueue(label: "sallyport.child-process", attributes: .concurrent)

  /// The standard output of a program that ends well; its standard error goes nowhere.
  ///
  /// - Parameters:
  ///   - words: the program, looked for in this process's PATH, and its arguments; no shell reads them.
  ///   - environment: all that it is given.
  ///   - maximumOutput: bytes.
  ///   - timeout: seconds; then the program and all that it has started are killed.
  /// - Throws: `Failure`.
  public static func run(
    _ words: [String], environment: [String: String], maximumOutput: Int, timeout: TimeInterval
  ) async throws -> [UInt8] {
    try await withCheckedThrowingContinuation { continuation in
      queue.async {
        continuation.resume(
          with: Result { try runBlocking(words, environment, maximumOutput, DispatchTime.now() + timeout) })
      }
    }
  }

  private static func runBlocking(
    _ words: [String], _ environment: [String: String], _ maximumOutput: Int, _ deadline: DispatchTime
  ) throws -> [UInt8] {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw failure(errno) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[0]) }
    let pid: pid_t
    do {
      defer { close(ends[1]) }
      pid = try spawn(words, environment, output: ends[1])
    }
    var isOver = false
    defer {
      if !isOver {
        kill(-pid, SIGKILL)
        _ = wait(pid, options: 0)
      }
    }
    let output = try read(ends[0], maximumOutput, deadline)
    // What has closed its output may still run.
    while true {
      if let status = wait(pid, options: WNOHANG) {
        isOver = true
        guard status == 0 else { throw Failure(reason: "failed with \(describe(status))") }
        return output
      }
      guard DispatchTime.now() < deadline else { throw Failure(reason: "took too long") }
      usleep(5_000)
    }
  }

  private static func read(_ descriptor: Int32, _ maximum: Int, _ deadline: DispatchTime) throws -> [UInt8] {
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let now = DispatchTime.now()
      guard now < deadline else { throw Failure(reason: "took too long") }
      let left = Int32(clamping: (deadline.uptimeNanoseconds - now.uptimeNanoseconds) / 1_000_000 + 1)
      var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&wanted, 1, left) > 0 else { continue }
      let count = Glibc.read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw failure(errno) }
      guard count > 0 else { return output }
      output += buffer[..<count]
      guard output.count <= maximum else { throw Failure(reason: "prints more than \(maximum) bytes") }
    }
  }

  /// In a process group of its own, so that it can be killed with all that it starts.
  private static func spawn(_ words: [String], _ environment: [String: String], output: Int32) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
    platform_spawn_close_from(&actions, STDERR_FILENO + 1)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
    let argv = words.map { strdup($0) } + [nil]
    let envp = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var pid: pid_t = 0
    let error = posix_spawnp(&pid, words[0], &actions, &attributes, argv, envp)
    guard error == 0 else { throw failure(error) }
    return pid
  }

  /// The status of a child that is over; `nil`: it is not.
  private static func wait(_ pid: pid_t, options: Int32) -> Int32? {
    var status: Int32 = 0
    while true {
      let result = waitpid(pid, &status, options)
      if result == pid { return status }
      guard result < 0, errno == EINTR else { return nil }
    }
  }

  /// wait(2): the low seven bits are the signal, the next eight the exit code.
  private static func describe(_ status: Int32) -> String {
    let signal = status & 0x7f
    return signal == 0 ? "exit code \(status >> 8 & 0xff)" : "signal \(signal)"
  }

  private static func failure(_ number: Int32) -> Failure {
    Failure(reason: "cannot be run: \(String(cString: strerror(number)))")
  }
}
