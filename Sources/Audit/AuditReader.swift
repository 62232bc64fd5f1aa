import Foundation
import Glibc

/// What a search asks for; `nil` fields ask for anything.
public struct AuditQuery: Sendable {
  /// Bounds of the record's time, both included.
  public var from: Date?
  public var to: Date?
  /// Names of events; empty for all.
  public var events: [String] = []
  public var user: String?
  /// Name of the database in the cluster.
  public var database: String?
  /// Part of a statement, without regard to the case of ASCII letters.
  public var queryText: String?

  public init() {}
}

/// A place between two records of the log; survives rotation.
public struct AuditCursor: Sendable, Equatable, CustomStringConvertible {
  /// Number of the file's first record.
  let file: Int
  let offset: Int

  init(file: Int, offset: Int) {
    self.file = file
    self.offset = offset
  }

  public init?(_ text: String) {
    let parts = text.split(separator: ".")
    guard parts.count == 2, let file = Int(parts[0]), let offset = Int(parts[1]), file >= 0, offset >= 0 else {
      return nil
    }
    self.init(file: file, offset: offset)
  }

  public var description: String { "\(file).\(offset)" }
}

/// One answer of a search: records as they are stored, one line each, and where to go on.
public struct AuditPage: Sendable {
  public var lines: [String] = []
  /// The place behind each of the lines.
  var ends: [AuditCursor] = []
  public var next: AuditCursor
  /// Whether the log had no more records when the page was made.
  public var isAtEnd = false
}

/// Reads the files of a log while they are written and rotated. Blocking; each call does a bounded amount of work.
public struct AuditReader: Sendable {
  private let files: AuditFiles

  /// Records and bytes of one page, and how many bytes of the log a call looks at to find them.
  static let maximumRecords = 1_000
  static let maximumPageBytes = 512 << 10
  public static let maximumScan = 32 << 20
  private static let chunk = 1 << 20

  /// - Parameter path: of the current file, as `AuditLog` was given it.
  public init(path: String) { files = AuditFiles(path: path) }

  init(_ files: AuditFiles) { self.files = files }

  /// Records that match `query`, from `cursor` or the oldest one on.
  ///
  /// - Parameter scan: bytes of the log to look at, about.
  public func page(
    _ query: AuditQuery, from cursor: AuditCursor?, limit: Int, scan: Int = maximumScan
  ) throws -> AuditPage {
    let filter = LineFilter(query)
    let all = try files.all()
    var page = AuditPage(next: cursor ?? AuditCursor(file: all.first?.firstSequence ?? 0, offset: 0))
    // A cursor into a file that rotation has removed since goes on with the oldest that is left.
    guard let start = all.firstIndex(where: { $0.firstSequence >= page.next.file }) else {
      page.isAtEnd = true
      return page
    }
    var budget = scan
    for index in start..<all.count {
      let (first, path) = all[index]
      let isResumed = cursor?.file == first
      let offset = isResumed ? cursor?.offset ?? 0 : 0
      if !isResumed, filter.skips(fileChangedAt: Self.changeTime(path)), index < all.count - 1 { continue }
      let isDone = try read(path, first, from: offset, filter, min(max(1, limit), Self.maximumRecords), &budget, &page)
      if !isDone { return page }
    }
    page.isAtEnd = true
    return page
  }

  /// The last `count` records that match, oldest first, and the end of the log as the place to go on from.
  public func tail(_ query: AuditQuery, count: Int) throws -> AuditPage {
    let filter = LineFilter(query)
    let wanted = min(max(0, count), Self.maximumRecords)
    let all = try files.all()
    guard let last = all.last else { return AuditPage(next: AuditCursor(file: 0, offset: 0), isAtEnd: true) }
    var found: [String] = []
    var bytes = 0
    var budget = Self.maximumScan
    var end: Int?
    for (first, path) in all.reversed() {
      try Self.withFile(path) { descriptor, size in
        let whole = try Self.wholeLines(descriptor, size)
        if first == last.firstSequence { end = whole }
        var stop = whole
        while stop > 0, found.count < wanted, budget > 0, bytes < Self.maximumPageBytes {
          let start = max(0, stop - Self.chunk)
          let buffer = try Self.read(descriptor, at: start, count: stop - start)
          budget -= buffer.count
          let skipped = start == 0 ? 0 : (buffer.firstIndex(of: UInt8(ascii: "\n")) ?? buffer.count - 1) + 1
          buffer.withUnsafeBytes { buffer in
            for line in Lines(UnsafeRawBufferPointer(rebasing: buffer[skipped...])).reversed()
            where found.count < wanted && bytes + line.count <= Self.maximumPageBytes && filter.matches(line) {
              found.append(String(decoding: line, as: UTF8.self))
              bytes += line.count
            }
          }
          stop = start + skipped
          if skipped == buffer.count { break }
        }
      }
      if found.count >= wanted || budget <= 0 || bytes >= Self.maximumPageBytes { break }
    }
    return AuditPage(
      lines: found.reversed(), next: AuditCursor(file: last.firstSequence, offset: end ?? 0), isAtEnd: true)
  }

  // MARK: Files

  /// Reads on in one file. Returns `false` when the page is full or the budget used up.
  private func read(
    _ path: String, _ first: Int, from offset: Int, _ filter: LineFilter, _ limit: Int, _ budget: inout Int,
    _ page: inout AuditPage
  ) throws -> Bool {
    var isDone = true
    try Self.withFile(path) { descriptor, size in
      var position = offset
      var bytes = page.lines.reduce(0) { $0 + $1.utf8.count }
      reading: while position < size {
        guard budget > 0 else {
          isDone = false
          break
        }
        var wanted = min(Self.chunk, size - position)
        var buffer = try Self.read(descriptor, at: position, count: wanted)
        if !buffer.contains(UInt8(ascii: "\n")) {
          wanted = min(AuditLogSettings.longestRecord, size - position)
          buffer = try Self.read(descriptor, at: position, count: wanted)
        }
        budget -= buffer.count
        // The last line may be in the middle of being written.
        guard let lastEnd = buffer.lastIndex(of: UInt8(ascii: "\n")) else { break }
        let isFull = buffer.withUnsafeBytes { buffer in
          for line in Lines(UnsafeRawBufferPointer(rebasing: buffer[...lastEnd])) {
            if filter.matches(line) {
              guard page.lines.count < limit, bytes + line.count <= Self.maximumPageBytes || page.lines.isEmpty else {
                return true
              }
              page.lines.append(String(decoding: line, as: UTF8.self))
              page.ends.append(AuditCursor(file: first, offset: position + line.count + 1))
              bytes += line.count
            }
            position += line.count + 1
          }
          return false
        }
        if isFull {
          isDone = false
          break reading
        }
      }
      page.next = AuditCursor(file: first, offset: position)
    }
    return isDone
  }

  static func withFile(_ path: String, _ body: (Int32, Int) throws -> Void) throws {
    let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else {
      // Rotated away between listing and opening: its records are found under the new name next time.
      if errno == ENOENT { return }
      throw AuditError.system("cannot open \(path)", errno)
    }
    defer { close(descriptor) }
    try body(descriptor, Int(lseek(descriptor, 0, SEEK_END)))
  }

  static func read(_ descriptor: Int32, at offset: Int, count: Int) throws -> [UInt8] {
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      filled = max(0, pread(descriptor, buffer.baseAddress, count, off_t(offset)))
    }
    guard !bytes.isEmpty || count == 0 else { throw AuditError.system("cannot read the audit log", errno) }
    return bytes
  }

  /// Where the last line end is.
  private static func wholeLines(_ descriptor: Int32, _ size: Int) throws -> Int {
    var end = size
    while end > 0 {
      let start = max(0, end - 64 << 10)
      let bytes = try read(descriptor, at: start, count: end - start)
      if let position = bytes.lastIndex(of: UInt8(ascii: "\n")) { return start + position + 1 }
      end = start
    }
    return 0
  }

  private static func changeTime(_ path: String) -> time_t {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mtim.tv_sec : .max
  }
}

/// The lines of a buffer that ends with a line end, without their ends.
struct Lines: Sequence {
  private let bytes: UnsafeRawBufferPointer

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  func makeIterator() -> AnyIterator<UnsafeRawBufferPointer> {
    var position = 0
    return AnyIterator {
      guard position < bytes.count, let base = bytes.baseAddress else { return nil }
      let rest = bytes.count - position
      let length =
        memchr(base + position, 0x0a, rest).map { $0 - UnsafeMutableRawPointer(mutating: base + position) } ?? rest
      defer { position += length + 1 }
      return UnsafeRawBufferPointer(start: base + position, count: length)
    }
  }
}
