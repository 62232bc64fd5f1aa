import Foundation
import Glibc
import Secrets

/// Files that only their owner may read: written whole or not at all, refused if others can read them.
public enum PrivateFile {
  /// Makes `path` a directory with mode 0700 if there is none, its parents likewise.
  ///
  /// - Throws: `PKIError` if that fails, or if what is there already is open to others (`checkDirectory`).
  public static func makeDirectory(_ path: String) throws {
    try makeMissing(path)
    try checkDirectory(path)
  }

  /// - Throws: `PKIError` with the command to type if `path` is no directory, belongs to another user or can be entered by
  ///   others: whoever may write there could replace what is in it, and the names alone tell who is who.
  public static func checkDirectory(_ path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0 else { throw PKIError("cannot open \(path): \(String(cString: strerror(errno)))") }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw PKIError("\(path) is not a directory; move it away") }
    guard status.st_uid == geteuid() else {
      throw PKIError(
        "\(path) belongs to user id \(status.st_uid), not to \(geteuid()); run 'chown -R \(geteuid()) \(path)'")
    }
    guard status.st_mode & 0o077 == 0 else {
      throw PKIError(
        "\(path) is open to others (mode \(String(status.st_mode & 0o777, radix: 8))); run 'chmod 700 \(path)'")
    }
  }

  /// - Throws: `PKIError` with the command to type if a file or folder below `directory` is open to others: whoever has read
  ///   a key once has it for good, so this is told before anything works with it.
  public static func checkContents(of directory: String) throws {
    guard let paths = FileManager.default.enumerator(atPath: directory) else {
      throw PKIError("cannot read \(directory)")
    }
    while let name = paths.nextObject() as? String {
      let path = directory + "/" + name
      var status = stat()
      // What has gone meanwhile is no secret; links are not followed where files are read.
      guard lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFLNK, status.st_mode & 0o077 != 0 else { continue }
      let mode = status.st_mode & S_IFMT == S_IFDIR ? "700" : "600"
      throw PKIError(
        "\(path) is open to others (mode \(String(status.st_mode & 0o777, radix: 8))); run 'chmod \(mode) \(path)', and "
          + "consider its content known")
    }
  }

  private static func makeMissing(_ path: String) throws {
    func attempt() -> Int32 { mkdir(path, 0o700) == 0 || errno == EEXIST ? 0 : errno }
    var failure = attempt()
    let parent = (path as NSString).deletingLastPathComponent
    if failure == ENOENT, !parent.isEmpty, parent != path {
      try makeMissing(parent)
      failure = attempt()
    }
    guard failure == 0 else { throw PKIError("cannot create \(path): \(String(cString: strerror(failure)))") }
  }

  /// Replaces `path` with `bytes`, mode 0600: written beside it, synced, then renamed (rename(2) is atomic).
  public static func write(_ bytes: Secret, to path: String) throws {
    let temporary = "\(path).\(UInt32.random(in: .min ... .max)).tmp"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw PKIError("cannot create \(path): \(String(cString: strerror(errno)))") }
    var failure: Int32 = 0
    bytes.withBytes { buffer in
      var offset = 0
      while offset < buffer.count, failure == 0 {
        let count = Glibc.write(descriptor, buffer.baseAddress.map { $0 + offset }, buffer.count - offset)
        if count > 0 { offset += count } else if errno != EINTR { failure = errno }
      }
    }
    if failure == 0, fsync(descriptor) != 0 { failure = errno }
    close(descriptor)
    if failure == 0, rename(temporary, path) != 0 { failure = errno }
    guard failure == 0 else {
      unlink(temporary)
      throw PKIError("cannot write \(path): \(String(cString: strerror(failure)))")
    }
    let directory = open((path as NSString).deletingLastPathComponent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if directory >= 0 {
      // Best effort: some file systems cannot sync a directory, and the data itself is safe.
      _ = fsync(directory)
      close(directory)
    }
  }

  /// As above, for text.
  public static func write(_ text: String, to path: String) throws { try write(Secret(utf8: text), to: path) }

  /// Reads a file, which nobody but its owner may be able to read.
  ///
  /// - Parameter limit: the largest size, in bytes.
  public static func read(_ path: String, limit: Int = 1 << 20) throws -> Secret {
    let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else { throw PKIError("cannot open \(path): \(String(cString: strerror(errno)))") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size <= limit else {
      throw PKIError("\(path) is not a regular file of at most \(limit) bytes")
    }
    guard status.st_mode & 0o077 == 0 else {
      throw PKIError("\(path) can be read by others; run 'chmod 600 \(path)' and consider its content known")
    }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    defer {
      bytes.withUnsafeMutableBytes { buffer in
        if let base = buffer.baseAddress { explicit_bzero(base, buffer.count) }
      }
    }
    var offset = 0
    while offset < bytes.count {
      let wanted = bytes.count - offset
      let count = bytes.withUnsafeMutableBytes { buffer in
        buffer.baseAddress.map { Glibc.read(descriptor, $0 + offset, wanted) } ?? 0
      }
      guard count > 0 else { throw PKIError("cannot read \(path)") }
      offset += count
    }
    return Secret(bytes)
  }
}
