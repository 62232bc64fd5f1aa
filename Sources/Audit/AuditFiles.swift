import Foundation
import Glibc

/// The files of one log: the one being written and those rotated away, named after the day and their first record.
struct AuditFiles: Sendable {
  let directory: String
  /// Name of the current file without its extension.
  let stem: String

  init(path: String) {
    directory = (path as NSString).deletingLastPathComponent
    stem = ((path as NSString).lastPathComponent as NSString).deletingPathExtension
  }

  var current: String { "\(directory)/\(stem).log" }
  /// Where the chain's end is noted, so that records missing after a restart are noticed.
  var head: String { "\(directory)/\(stem).head" }

  func rotated(firstSequence: Int, day: String) -> String {
    let number = String(firstSequence)
    let padding = String(repeating: "0", count: max(0, 12 - number.count))
    return "\(directory)/\(stem)-\(day)-\(padding)\(number).log"
  }

  /// Rotated files, oldest first.
  func allRotated() throws -> [(firstSequence: Int, path: String)] {
    try FileManager.default.contentsOfDirectory(atPath: directory).compactMap { name in
      guard name.hasPrefix(stem + "-"), name.hasSuffix(".log"),
        let number = name.dropLast(4).split(separator: "-").last.flatMap({ Int($0) })
      else { return nil }
      return (number, "\(directory)/\(name)")
    }.sorted { $0.firstSequence < $1.firstSequence }
  }

  /// All files in the order of their records; the current one comes last if it has any.
  func all() throws -> [(firstSequence: Int, path: String)] {
    var files = try allRotated()
    if let first = try firstSequence(of: current) { files.append((first, current)) }
    return files
  }

  /// Number of a file's first record; `nil` for one that is empty, missing or no audit file.
  func firstSequence(of path: String) throws -> Int? {
    let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw AuditError.system("cannot open \(path)", errno)
    }
    defer { close(descriptor) }
    return withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { buffer in
      let count = pread(descriptor, buffer.baseAddress, buffer.count, 0)
      guard count > 0 else { return nil }
      return AuditRecord.sequence(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
  }
}
