import Dispatch
import Foundation
import Glibc
import Synchronization

/// Reads a log for shipping: whole lines in batches, only what is on the disk, from where the other side has it.
///
/// What was acknowledged is noted beside the log, so that rotation knows what it would lose. Thread-safe; for one
/// shipper.
public final class AuditOutbox: Sendable {
  /// Consecutive lines of the log.
  public struct Batch: Sendable {
    public var bytes: [UInt8]
    /// Where the chain is after them.
    public var end: AuditHead
    /// Whether the log has no record, or none that can be read, right before these.
    public var followsGap: Bool
    /// Whether the log may have more already.
    public var isFull: Bool
  }

  /// Bytes of a batch, but for a single record that is longer.
  public static let maximumBatch = 512 << 10

  private struct Place {
    var cursor: AuditCursor
    /// Number of the last record before it.
    var sequence: Int
    var isBroken: Bool
  }

  private let files: AuditFiles
  private let place = Mutex<Place?>(nil)
  /// Reading and syncing block.
  private let queue = DispatchQueue(label: "sallyport.audit-outbox", qos: .utility)

  /// - Parameter path: of the current file, as `AuditLog` was given it.
  public init(path: String) throws {
    files = AuditFiles(path: path)
    // From here on rotation counts what it removes unshipped.
    guard AuditFiles.storedHead(at: files.shipped) != nil || AuditFiles.store(.origin, at: files.shipped) else {
      throw AuditError.system("cannot write \(files.shipped)", errno)
    }
  }

  /// Forgets what an earlier run on this host has shipped: a host that keeps its log itself loses nothing by rotation.
  ///
  /// - Parameter path: of the current file, before a log is opened there.
  /// - Throws: `AuditError` if the note cannot be removed.
  public static func forget(path: String) throws {
    let note = AuditFiles(path: path).shipped
    guard unlink(note) == 0 || errno == ENOENT else { throw AuditError.system("cannot remove \(note)", errno) }
  }

  /// Goes to the record after `head`, where the other side's copy ends.
  ///
  /// - Throws: `AuditError`, also if this log ends before that.
  public func seek(_ head: AuditHead) async throws { try await run { try self.find(head) } }

  /// The next lines; `nil` while there are none.
  public func next() async throws -> Batch? { try await run { try self.read() } }

  /// The other side has everything up to `head` on its disk.
  public func acknowledge(_ head: AuditHead) async throws {
    try await run {
      guard AuditFiles.store(head, at: self.files.shipped) else {
        throw AuditError.system("cannot write \(self.files.shipped)", errno)
      }
    }
  }

  private func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Swift.Result { try body() }) }
    }
  }

  // MARK: Finding

  private func find(_ head: AuditHead) throws {
    let all = try files.all()
    guard let index = all.lastIndex(where: { $0.firstSequence <= head.sequence }) ?? (all.isEmpty ? nil : 0) else {
      guard head.sequence == 0 else { throw try behind(head, last: 0) }
      place.withLock { $0 = nil }
      return
    }
    let (first, path) = all[index]
    var found = Place(cursor: AuditCursor(file: first, offset: 0), sequence: head.sequence, isBroken: false)
    var last = 0
    var isFollowed = index < all.count - 1
    if first <= head.sequence {
      try AuditReader.withFile(path) { descriptor, size in
        var offset = 0
        while offset < size {
          let lines = try Self.wholeLines(descriptor, at: offset, size: size, maximum: 1 << 20)
          guard !lines.isEmpty else { break }
          let isFound = lines.withUnsafeBytes { bytes in
            for line in Lines(bytes) {
              if let sequence = AuditRecord.sequence(line) {
                guard sequence <= head.sequence else { return true }
                last = sequence
              }
              offset += line.count + 1
            }
            return false
          }
          if isFound {
            isFollowed = true
            break
          }
        }
        found.cursor = AuditCursor(file: first, offset: offset)
      }
      // With records behind it, the hole is this log's own.
      if last < head.sequence, !isFollowed { throw try behind(head, last: last) }
    }
    place.withLock { $0 = found }
  }

  /// Its numbers would be taken for records that the other side has. Noted as shipped, they are passed over at the next
  /// start.
  private func behind(_ head: AuditHead, last: Int) throws -> AuditError {
    guard AuditFiles.store(head, at: files.shipped) else {
      return AuditError.system("cannot write \(files.shipped)", errno)
    }
    return AuditError(
      "the Auth Service has this host's records up to \(head.sequence), the log here ends with \(last): it was replaced by an "
        + "older one; restart this service, which then counts on from \(head.sequence)")
  }

  // MARK: Reading

  private func read() throws -> Batch? {
    var place = place.withLock { $0 }
    defer { self.place.withLock { $0 = place } }
    let all = try files.all()
    if place == nil, let first = all.first {
      place = Place(cursor: AuditCursor(file: first.firstSequence, offset: 0), sequence: 0, isBroken: false)
    }
    guard var current = place else { return nil }
    defer { place = current }
    // A file that rotation has removed meanwhile leaves a gap.
    for (first, path) in all where first >= current.cursor.file {
      if first > current.cursor.file { current.cursor = AuditCursor(file: first, offset: 0) }
      if let batch = try batch(path, &current) { return batch }
    }
    return nil
  }

  /// Lines of one file; `nil` if it has no more.
  private func batch(_ path: String, _ place: inout Place) throws -> Batch? {
    var lines: [UInt8] = []
    var isFull = false
    let offset = place.cursor.offset
    try AuditReader.withFile(path) { descriptor, size in
      guard offset < size else { return }
      // Rotation may have come between listing and opening: then it is found under its new name next time.
      if path == files.current, files.firstSequence(of: descriptor) != place.cursor.file { return }
      // The other side must never have what a loss of power here would take away: its number would be used again.
      guard fdatasync(descriptor) == 0 else { throw AuditError.system("cannot sync \(path)", errno) }
      lines = try Self.wholeLines(descriptor, at: offset, size: size, maximum: Self.maximumBatch)
      isFull = offset + lines.count < size
    }
    guard !lines.isEmpty else { return nil }
    return lines.withUnsafeBytes { bytes in
      var (start, end): (Int?, Int) = (nil, 0)
      var head: AuditHead?
      var followsGap = false
      for line in Lines(bytes) {
        let next = end + line.count + 1
        guard let sequence = AuditRecord.sequence(line), AuditRecord.previous(line) != nil else {
          // Damage is for `tctl audit search --verify` on the other side to show: as a gap.
          if start != nil { break }
          (end, place.isBroken) = (next, true)
          continue
        }
        if sequence != place.sequence + 1 || place.isBroken {
          if start != nil { break }
          followsGap = true
        }
        if start == nil { start = end }
        (place.sequence, place.isBroken) = (sequence, false)
        head = AuditHead(sequence: sequence, digest: [])
        end = next
      }
      place.cursor = AuditCursor(file: place.cursor.file, offset: offset + end)
      guard let start, var head else { return nil }
      let last = bytes[..<(end - 1)].lastIndex(of: 0x0a).map { $0 + 1 } ?? 0
      head.digest = AuditRecord.digest(UnsafeRawBufferPointer(rebasing: bytes[last..<(end - 1)]))
      return Batch(bytes: Array(bytes[start..<end]), end: head, followsGap: followsGap, isFull: isFull)
    }
  }

  /// The whole lines at `offset`, about `maximum` bytes of them, but one at least if there is one.
  private static func wholeLines(_ descriptor: Int32, at offset: Int, size: Int, maximum: Int) throws -> [UInt8] {
    for limit in [maximum, AuditLogSettings.longestRecord] {
      var bytes = try AuditReader.read(descriptor, at: offset, count: min(limit, size - offset))
      if let end = bytes.lastIndex(of: UInt8(ascii: "\n")) {
        bytes.removeLast(bytes.count - end - 1)
        return bytes
      }
    }
    return []
  }
}
