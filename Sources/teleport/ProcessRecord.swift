import Diagnostics
import Foundation
import Glibc
import PKI

/// What a running process leaves in its data directory for `teleport status`.
///
/// The lock says whether it runs, whatever became of the process: the kernel lets go of it. The file beside it says the
/// rest.
final class ProcessRecord: Sendable {
  struct Content: Codable, Sendable {
    var pid: Int32
    var version: String
    var stage: String
    var services: [String]
    var listen: [String]
    var diagAddress: String?
    var configuration: String?
    var started: Date
  }

  private let path: String
  private let lock: Int32
  private let content: Content

  /// Takes the lock of `dataDirectory`.
  ///
  /// - Throws: `Failure` if another process has it.
  init(dataDirectory: String, content: Content) throws {
    try PrivateFile.makeDirectory(dataDirectory)
    try PrivateFile.makeDirectory(dataDirectory + "/run")
    path = Self.path(in: dataDirectory)
    self.content = content
    lock = open(Self.lockPath(in: dataDirectory), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard lock >= 0 else {
      throw Failure("cannot open the lock in \(dataDirectory)/run: \(String(cString: strerror(errno)))")
    }
    // 'teleport status' holds the lock for a moment to see whether it is free.
    var attempts = 10
    while flock(lock, LOCK_EX | LOCK_NB) != 0, attempts > 0 {
      attempts -= 1
      usleep(20_000)
    }
    guard attempts > 0 else {
      close(lock)
      throw Failure("another process uses \(dataDirectory); 'teleport status' tells which; stop that one first")
    }
    try show(.starting)
  }

  deinit { close(lock) }

  func show(_ stage: Health.Stage) throws {
    var content = content
    content.stage = stage.rawValue
    let text = String(decoding: try Self.encoder.encode(content), as: UTF8.self)
    try PrivateFile.write(text + "\n", to: path)
  }

  /// The process that uses `dataDirectory` now, if one does.
  ///
  /// - Throws: if the directory's files may not be read.
  static func running(in dataDirectory: String) throws -> Content? {
    let path = lockPath(in: dataDirectory)
    let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw Failure("cannot open \(path): \(String(cString: strerror(errno))); run this as the service's user")
    }
    defer { close(descriptor) }
    if flock(descriptor, LOCK_SH | LOCK_NB) == 0 { return nil }
    let decoder = JSONDecoder()
    decoder.dateDecodingStrategy = .iso8601
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let text = try PrivateFile.read(Self.path(in: dataDirectory)).withBytes { Data($0) }
    return try decoder.decode(Content.self, from: text)
  }

  static var encoder: JSONEncoder {
    let encoder = JSONEncoder()
    encoder.dateEncodingStrategy = .iso8601
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return encoder
  }

  private static func path(in dataDirectory: String) -> String { dataDirectory + "/run/process.json" }
  private static func lockPath(in dataDirectory: String) -> String { dataDirectory + "/run/process.lock" }
}

/// The file that `--pid-file` names, for scripts that expect one; removed at the end.
struct PIDFile {
  private let path: String

  init(path: String) throws {
    self.path = path
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Failure("cannot write \(path): \(String(cString: strerror(errno)))") }
    let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    try file.write(contentsOf: Data("\(getpid())\n".utf8))
  }

  func remove() { unlink(path) }
}
