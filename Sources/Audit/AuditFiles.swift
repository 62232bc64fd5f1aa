import Foundation
import Glibc
import TextForms

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
  /// Which database sessions were open at some place of the log.
  var open: String { "\(directory)/\(stem).open" }
  /// Up to where the Auth Service has the log, on a host that ships it there.
  var shipped: String { "\(directory)/\(stem).shipped" }

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
    let descriptor = Glibc.open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw AuditError.system("cannot open \(path)", errno)
    }
    defer { close(descriptor) }
    return firstSequence(of: descriptor)
  }

  func firstSequence(of descriptor: Int32) -> Int? {
    withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { buffer in
      let count = pread(descriptor, buffer.baseAddress, buffer.count, 0)
      guard count > 0 else { return nil }
      return AuditRecord.sequence(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
  }

  // MARK: Notes

  /// Puts `bytes` in the place of the file at `path`, for its owner alone: whole or not at all.
  ///
  /// - Parameter isSynced: whether that is to hold for a loss of power, too.
  static func replace(_ path: String, with bytes: [UInt8], isSynced: Bool = false) -> Bool {
    let temporary = path + ".tmp"
    let note = Glibc.open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard note >= 0 else { return false }
    defer { close(note) }
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        buffer.baseAddress.map { Glibc.write(note, $0 + written, buffer.count - written) } ?? -1
      }
      guard count > 0 else { return false }
      written += count
    }
    guard !isSynced || fdatasync(note) == 0 else { return false }
    return rename(temporary, path) == 0
  }

  /// Notes a place of the chain.
  static func store(_ head: AuditHead, at path: String) -> Bool {
    replace(path, with: Array("\(head.sequence) \(Hex.encode(head.digest))\n".utf8))
  }

  /// A place of the chain that was noted; `nil` if there is none, or none that can be read.
  static func storedHead(at path: String) -> AuditHead? {
    guard let data = FileManager.default.contents(atPath: path) else { return nil }
    let words = String(decoding: data.prefix(256), as: UTF8.self).split(separator: " ")
    guard words.count == 2, let sequence = Int(words[0]), sequence >= 0,
      let digest = AuditRecord.digest(hex: words[1].trimmingCharacters(in: .whitespacesAndNewlines))
    else { return nil }
    return AuditHead(sequence: sequence, digest: digest)
  }
}
