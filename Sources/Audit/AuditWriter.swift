import Crypto
import Foundation

/// Forms records, numbers and chains them, and brings them to the file. Lives on the audit log's own thread.
public final class AuditWriter {
  private var file: AuditFile
  private let settings: AuditLogSettings
  private(set) var head: AuditHead
  /// Records that are not in the file yet, from `written` on.
  private var text = JSONText()
  private var written = 0
  private var clock = RecordClock()
  private var uids = UIDSource()
  private var storedHead: AuditHead
  private var headStoredAt: time_t = 0
  private var droppedCount = 0
  private let files: AuditFiles
  private(set) var sessions: OpenSessions
  private var sinceCheckpoint = 0

  /// What the last attempt to write failed with.
  private(set) var failure: AuditError?
  private(set) var metrics = AuditMetrics()

  /// Records are written in pieces of about this size, in bytes.
  private static let batch = 256 << 10
  /// Seconds between notes of where the chain ends.
  private static let headInterval: time_t = 10

  init(_ files: AuditFiles, settings: AuditLogSettings) throws {
    self.settings = settings
    self.files = files
    (file, head) = try AuditFile.open(files, settings: settings)
    storedHead = head
    sessions = try OpenSessions.load(files)
    text.bytes.reserveCapacity(2 * Self.batch)
    report(file.recovery)
    endKilledSessions()
    flush()
    checkpoint()
    if let failure { throw failure }
  }

  /// Whether sources may go on. Without room they keep what they have.
  public var hasRoom: Bool { text.bytes.count - written < settings.maximumBacklog }
  /// A tenth is kept for events that are not of a source: starts and ends of sessions, logins.
  private var hasRoomForEvents: Bool {
    text.bytes.count - written < settings.maximumBacklog + settings.maximumBacklog / 10
  }

  // MARK: Records

  /// Appends a record.
  ///
  /// - Parameters:
  ///   - milliseconds: since 1970.
  ///   - fields: appends what is particular to it.
  /// - Returns: whether there was room.
  @discardableResult
  public func write(
    _ event: String, code: String, at milliseconds: Int64, _ fields: (inout JSONText) -> Void
  ) -> Bool {
    guard hasRoomForEvents else {
      metrics.dropped += 1
      droppedCount += 1
      return false
    }
    let start = text.bytes.count
    text.append(AuditRecord.opening)
    text.number(head.sequence + 1)
    text.append(",\"event\":")
    text.string(event)
    text.append(",\"code\":")
    text.string(code)
    text.append(",\"time\":\"")
    clock.append(milliseconds, to: &text)
    text.append("\",\"uid\":\"")
    uids.append(to: &text)
    text.append("\",")
    fields(&text)
    text.append(AuditRecord.link)
    for byte in head.digest { text.hex(byte) }
    text.append("\"}")
    head.sequence += 1
    text.bytes.withUnsafeBytes { bytes in
      let line = UnsafeRawBufferPointer(rebasing: bytes[start...])
      head.digest = AuditRecord.digest(line)
      if event == OpenSessions.startEvent || event == OpenSessions.endEvent { sessions.note(line) }
    }
    text.append("\n")
    metrics.written += 1
    if text.bytes.count - written >= Self.batch, failure == nil { flush() }
    return true
  }

  /// Counts entries that a source lost before they were records.
  public func countLost(_ count: Int) { metrics.dropped += count }

  @discardableResult
  func write(_ event: AuditEvent) -> Bool {
    let milliseconds = Int64((event.time.timeIntervalSince1970 * 1000).rounded())
    return write(event.event, code: event.code, at: milliseconds) {
      event.bounded().encodeFields(into: &$0)
    }
  }

  private func report(_ recovery: AuditFile.Recovery) {
    if !recovery.torn.isEmpty {
      writeOwn("audit.recovered", code: "SPA01W") { text in
        text.field("message", "an unfinished last record was cut off")
        recovery.torn.withUnsafeBytes { text.field("torn", $0) }
      }
    }
    if let name = recovery.putAside {
      writeOwn("audit.recovered", code: "SPA01W") {
        $0.field("message", "the file did not end with a record and was put aside")
        $0.field("file", name)
      }
    }
    if let missing = recovery.missingUpTo {
      writeOwn("audit.missing", code: "SPA03W") {
        $0.field("message", "the log does not end where it ended when this server last wrote it")
        $0.field("last_seq", missing)
      }
    }
  }

  /// Sessions that were open when the process was killed have no end on record: they get it now.
  private func endKilledSessions() {
    for start in sessions.records {
      start.withUnsafeBytes { line in
        guard let (fields, started) = OpenSessions.fields(ofStart: line) else { return }
        writeOwn(OpenSessions.endEvent, code: "TDB01I") { text in
          text.fields(fields)
          text.field("session_start", started)
          text.field("reason", "service_killed")
          text.field("message", "the service was killed or lost power: the session ended before this start of it")
        }
      }
    }
  }

  private func writeOwn(_ event: String, code: String, _ fields: (inout JSONText) -> Void) {
    write(event, code: code, at: RecordClock.now(), fields)
  }

  // MARK: File

  /// Brings everything to the file, as far as it takes it; goes on where an earlier attempt stopped.
  func flush() {
    if written < text.bytes.count {
      let (count, errno) = text.bytes.withUnsafeBytes {
        file.append(UnsafeRawBufferPointer(rebasing: $0[written...]))
      }
      written += count
      metrics.bytes += count
      sinceCheckpoint += count
      note(errno)
      guard errno == 0 else { return }
    }
    text.bytes.removeAll(keepingCapacity: text.bytes.capacity <= 4 * Self.batch)
    written = 0
    reportDropped()
    if !text.bytes.isEmpty { return flush() }
    maintain()
  }

  /// Puts everything on the disk. Returns why it could not.
  func sync() -> AuditError? {
    flush()
    guard failure == nil else { return failure }
    let errno = file.sync()
    metrics.syncs += 1
    note(errno)
    return failure
  }

  private func note(_ errno: Int32) {
    guard errno != 0 else {
      failure = nil
      return
    }
    metrics.failures += 1
    failure = AuditError(
      "cannot write the audit log: \(String(cString: strerror(errno))) (make room in data_dir/log; writing resumes by itself)"
    )
  }

  private func reportDropped() {
    guard droppedCount > 0 else { return }
    let count = droppedCount
    droppedCount = 0
    writeOwn("audit.dropped", code: "SPA00W") {
      $0.field("message", "records were lost while the audit log could not be written")
      $0.field("count", count)
    }
  }

  private func maintain() {
    let now = time(nil)
    do {
      if try file.rotateIfDue(head: head, now: now) {
        file.store(head)
        checkpoint()
      }
    } catch {
      metrics.failures += 1
      failure = error as? AuditError ?? AuditError("\(error)")
    }
    if sinceCheckpoint >= OpenSessions.checkpointInterval { checkpoint() }
    if head != storedHead, now - headStoredAt >= Self.headInterval { storeHead(now) }
    reportUnshipped()
  }

  /// With nothing waiting: what is noted has to be what the file holds.
  private func checkpoint() {
    guard written == text.bytes.count, sessions.storeCheckpoint(files.open, at: file.end) else { return }
    sinceCheckpoint = 0
  }

  private func reportUnshipped() {
    guard file.lostUnshipped > metrics.lostUnshipped else { return }
    metrics.lostUnshipped = file.lostUnshipped
    // The whole sum: an earlier record of it may be among what is removed next.
    writeOwn("audit.unshipped", code: "SPA04W") {
      $0.field("message", "the oldest records were removed before the Auth Service had them; so many since the start")
      $0.field("count", metrics.lostUnshipped)
    }
    flush()
  }

  private func storeHead(_ now: time_t) {
    if file.store(head) { (storedHead, headStoredAt) = (head, now) }
  }

  /// Before the thread ends, or on demand: everything to the disk and its end noted.
  func settle() {
    guard sync() == nil, head != storedHead else { return }
    storeHead(time(nil))
  }
}

/// What the audit log has done since it was opened, for metrics.
public struct AuditMetrics: Sendable, Equatable {
  public internal(set) var written = 0
  public internal(set) var dropped = 0
  public internal(set) var bytes = 0
  public internal(set) var syncs = 0
  /// Records that rotation removed before the Auth Service had them.
  public internal(set) var lostUnshipped = 0
  /// Attempts to write, sync or rotate that failed.
  public internal(set) var failures = 0
}
