import Foundation
import Glibc
import TextForms

/// Another host's log, as it arrives: the same lines in the same chain, in files of its own. Bound to one queue.
public final class AuditCopy {
  /// Why lines are not taken. What the chain shows of losses and changes at the host is no reason: see `Result`.
  public enum Refusal: Error, Sendable, Equatable {
    /// The first new record is not the one after `head`, and the sender did not say that those between are gone.
    case outOfOrder
    /// A line is not a record, with the number of the one before it.
    case notARecord(after: Int)
  }

  /// What taking lines showed.
  public struct Result: Sendable, Equatable {
    /// Records that were not here yet.
    public var added = 0
    /// What is wrong with the chain, in words.
    public var problem: String?
  }

  /// Where the chain ends here.
  public private(set) var head: AuditHead
  private let files: AuditFiles
  private let file: AuditFile
  private var sessions: OpenSessions
  private var sinceCheckpoint = 0

  /// Open sessions of one host that are followed.
  private static let maximumSessions = 20_000

  /// Opens (or makes) the copy whose current file is `path`.
  ///
  /// - Parameter maximumSize: bytes that all its files may have, about; the oldest are removed first.
  public init(path: String, maximumSize: Int) throws {
    files = AuditFiles(path: path)
    var settings = AuditLogSettings()
    settings.maximumSize = max(1, maximumSize / 8)
    settings.maximumFiles = 7
    settings.rotatesDaily = false
    (file, head) = try AuditFile.open(files, settings: settings)
    sessions = try OpenSessions.load(files, maximum: Self.maximumSessions)
    if file.size > 0 { checkpoint() }
  }

  /// The host's sessions whose start has arrived and whose end has not.
  public var openSessions: [OpenSession] { OpenSession.all(sessions.records) }

  /// Takes `bytes`, whole lines; those that are here already are passed over. When this returns they are on the disk.
  ///
  /// - Parameters:
  ///   - followsGap: the sender has no record right before these any more.
  ///   - check: looks at each new record; what it throws refuses all.
  /// - Throws: `Refusal` or `AuditError`; the copy is as it was then.
  public func append(
    _ bytes: [UInt8], followsGap: Bool, check: (UnsafeRawBufferPointer) throws -> Void
  ) throws -> Result {
    guard bytes.last == UInt8(ascii: "\n") else { throw Refusal.notARecord(after: head.sequence) }
    var result = Result()
    return try bytes.withUnsafeBytes { bytes in
      var next = head
      var (start, position) = (bytes.count, 0)
      for line in Lines(bytes) {
        defer { position += line.count + 1 }
        guard let sequence = AuditRecord.sequence(line), let previous = AuditRecord.previous(line),
          line.count <= AuditLogSettings.longestRecord
        else { throw Refusal.notARecord(after: next.sequence) }
        guard sequence > head.sequence else { continue }
        let isFirst = result.added == 0
        guard sequence == next.sequence + 1 || isFirst && (followsGap || head.sequence == 0) else {
          throw Refusal.outOfOrder
        }
        // A copy that is new begins where the host's log does.
        if sequence != next.sequence + 1, head.sequence > 0 {
          result.problem = "records \(next.sequence + 1) to \(sequence - 1) are missing"
        } else if previous != Hex.encode(next.digest), next.sequence > 0 {
          result.problem = "record \(next.sequence) was changed after it was written"
        }
        try check(line)
        if isFirst { start = position }
        result.added += 1
        next = AuditHead(sequence: sequence, digest: AuditRecord.digest(line))
      }
      guard result.added > 0 else { return result }
      try store(UnsafeRawBufferPointer(rebasing: bytes[start...]), end: next, hasGap: result.problem != nil)
      return result
    }
  }

  private func store(_ bytes: UnsafeRawBufferPointer, end: AuditHead, hasGap: Bool) throws {
    if try file.rotateIfDue(head: head, now: time(nil)) { checkpoint() }
    if let line = Lines(bytes).first(where: { _ in true }), let first = AuditRecord.sequence(line) { file.begin(first) }
    let before = file.size
    let (count, errno) = file.append(bytes)
    let problem = count < bytes.count ? errno : file.sync()
    guard problem == 0 else {
      try file.cut(to: before)
      throw AuditError.system("cannot write \(files.current)", problem)
    }
    head = end
    // Ends may be among what is missing: better none than sessions that never go away.
    if hasGap { sessions.forgetAll() }
    for line in Lines(bytes) { sessions.note(line) }
    sinceCheckpoint += bytes.count
    if sinceCheckpoint >= OpenSessions.checkpointInterval { checkpoint() }
  }

  private func checkpoint() {
    if sessions.storeCheckpoint(files.open, at: file.end) { sinceCheckpoint = 0 }
  }
}
