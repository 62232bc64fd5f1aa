import Foundation
import Glibc
import TextForms

/// The file that records are appended to: opened and mended at start, rotated by size and day.
///
/// Bound to one thread. Every record that it holds is whole: an unfinished last line, as a kill in the middle of a
/// write leaves it, is cut off at the next start and reported.
final class AuditFile {
  /// What opening found.
  struct Recovery {
    /// The unfinished line that was cut off.
    var torn: [UInt8] = []
    /// A file whose last line is no record was put aside under this name.
    var putAside: String?
    /// Records up to this number had been written once and are gone, or the last is not what was written.
    var missingUpTo: Int?
  }

  private let files: AuditFiles
  private let settings: AuditLogSettings
  private var descriptor: Int32 = -1
  private(set) var size = 0
  /// Number of the file's first record; of the next one, while it is empty.
  private var firstSequence = 1
  /// UTC day of its first record.
  private var day = ""
  private(set) var recovery = Recovery()
  /// Records that rotation has removed before they were shipped.
  private(set) var lostUnshipped = 0

  /// Opens (or makes) the current file.
  ///
  /// - Returns: with the file, where the chain ends.
  static func open(_ files: AuditFiles, settings: AuditLogSettings) throws -> (AuditFile, AuditHead) {
    let file = AuditFile(files, settings)
    let head = try file.recover()
    return (file, head)
  }

  private init(_ files: AuditFiles, _ settings: AuditLogSettings) {
    self.files = files
    self.settings = settings
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  // MARK: Opening

  private func recover() throws -> AuditHead {
    try openCurrent()
    try cutTornLine()
    var head = AuditHead.origin
    if size > 0 {
      if let last = try Self.lastRecord(of: descriptor, size: size) {
        head = last
        firstSequence = try files.firstSequence(of: files.current) ?? last.sequence
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw AuditError.system("cannot read \(files.current)", errno) }
        day = Self.day(of: status.st_mtim.tv_sec)
      } else {
        try putAside()
      }
    }
    if size == 0, let latest = try files.allRotated().last {
      let other = Glibc.open(latest.path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
      guard other >= 0 else { throw AuditError.system("cannot open \(latest.path)", errno) }
      defer { close(other) }
      head = try Self.lastRecord(of: other, size: Int(lseek(other, 0, SEEK_END))) ?? head
    }
    let shipped = AuditFiles.storedHead(at: files.shipped).flatMap { $0.sequence > head.sequence ? $0 : nil }
    for noted in [AuditFiles.storedHead(at: files.head), shipped].compactMap({ $0 })
    where noted.sequence >= head.sequence && noted != head {
      recovery.missingUpTo = noted.sequence
      // Numbers are not used twice: the hole stays visible.
      head.sequence = noted.sequence
    }
    if size == 0 { firstSequence = head.sequence + 1 }
    return head
  }

  private func openCurrent() throws {
    let path = files.current
    descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw AuditError.system("cannot open \(path)", errno) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw AuditError.system("cannot read \(path)", errno) }
    guard status.st_mode & 0o077 == 0 else {
      throw AuditError("\(path) can be read by others; run 'chmod 600 \(path)'")
    }
    size = Int(status.st_size)
    syncDirectory()
  }

  /// How much of an unfinished line is kept in the report of its loss, in bytes.
  private static let keptOfTornLine = 512

  private func cutTornLine() throws {
    let end = try Self.endOfLastLine(descriptor, size: size)
    guard end < size else { return }
    recovery.torn = try Self.read(descriptor, at: end, count: min(size - end, Self.keptOfTornLine))
    guard ftruncate(descriptor, off_t(end)) == 0 else { throw AuditError.system("cannot mend \(files.current)", errno) }
    size = end
  }

  /// A file that does not end with a record of ours cannot be continued; it stays for people to look at.
  private func putAside() throws {
    let name = "\(files.directory)/\(files.stem).unreadable-\(UInt32.random(in: .min ... .max))"
    guard rename(files.current, name) == 0 else { throw AuditError.system("cannot rename \(files.current)", errno) }
    close(descriptor)
    descriptor = -1
    recovery.putAside = name
    try openCurrent()
  }

  private static let chunk = 64 * 1024

  private static func endOfLastLine(_ descriptor: Int32, size: Int) throws -> Int {
    var end = size
    while end > 0 {
      let start = max(0, end - chunk)
      let bytes = try read(descriptor, at: start, count: end - start)
      if let position = bytes.lastIndex(of: UInt8(ascii: "\n")) { return start + position + 1 }
      end = start
    }
    return 0
  }

  private static func lastRecord(of descriptor: Int32, size: Int) throws -> AuditHead? {
    let end = try endOfLastLine(descriptor, size: size)
    guard end > 1 else { return nil }
    let start = try endOfLastLine(descriptor, size: end - 1)
    guard end - start <= AuditLogSettings.longestRecord else { return nil }
    return try read(descriptor, at: start, count: end - 1 - start).withUnsafeBytes { line in
      guard let sequence = AuditRecord.sequence(line), AuditRecord.previous(line) != nil else { return nil }
      return AuditHead(sequence: sequence, digest: AuditRecord.digest(line))
    }
  }

  private static func read(_ descriptor: Int32, at offset: Int, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let got = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, off_t(offset)) }
    guard got == count else { throw AuditError.system("cannot read the audit log", got < 0 ? errno : EIO) }
    return bytes
  }

  // MARK: Writing

  /// Appends `bytes`, all or a first part of them.
  ///
  /// - Returns: how many were taken, and the error number that stopped the rest.
  func append(_ bytes: UnsafeRawBufferPointer) -> (count: Int, errno: Int32) {
    var written = 0
    if descriptor < 0, (try? openCurrent()) == nil { return (0, EBADF) }
    while written < bytes.count {
      let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + written }, bytes.count - written)
      guard count > 0 else {
        if count < 0, errno == EINTR { continue }
        return (written, count < 0 ? errno : ENOSPC)
      }
      written += count
      size += count
    }
    return (written, 0)
  }

  /// Puts what was appended on the disk. Returns an error number or 0.
  func sync() -> Int32 { fdatasync(descriptor) == 0 ? 0 : errno }

  // MARK: Rotation

  /// Starts a new file if this one is full or of another day; old ones are removed beyond the settings' bounds.
  ///
  /// - Parameter head: where the chain ends: the last record of this file.
  /// - Returns: whether it did.
  func rotateIfDue(head: AuditHead, now: time_t) throws -> Bool {
    let today = Self.day(of: now)
    var status = stat()
    if fstat(descriptor, &status) == 0, status.st_nlink == 0 {
      // Someone removed the file: what follows goes to a new one, where the missing numbers show.
      close(descriptor)
      descriptor = -1
      try openCurrent()
      (firstSequence, day) = (head.sequence + 1, "")
      return true
    }
    if size > 0, day.isEmpty { day = today }
    guard size > 0, size >= settings.maximumSize || settings.rotatesDaily && day != today else { return false }
    if fdatasync(descriptor) != 0 { throw AuditError.system("cannot sync \(files.current)", errno) }
    let name = files.rotated(firstSequence: firstSequence, day: day)
    guard rename(files.current, name) == 0 else { throw AuditError.system("cannot rename \(files.current)", errno) }
    close(descriptor)
    descriptor = -1
    try openCurrent()
    firstSequence = head.sequence + 1
    day = ""
    try removeOldest()
    return true
  }

  private func removeOldest() throws {
    let rotated = try files.allRotated()
    let shipped = AuditFiles.storedHead(at: files.shipped)?.sequence
    for (index, old) in rotated.dropLast(settings.maximumFiles).enumerated() {
      guard unlink(old.path) == 0 else { throw AuditError.system("cannot remove \(old.path)", errno) }
      let next = index + 1 < rotated.count ? rotated[index + 1].firstSequence : firstSequence
      if let shipped { lostUnshipped += max(0, next - 1 - max(shipped, old.firstSequence - 1)) }
    }
  }

  // MARK: Copies of other hosts' logs

  /// The next record is to be number `sequence`: it names the file that begins with it.
  func begin(_ sequence: Int) {
    if size == 0 { firstSequence = sequence }
  }

  /// Takes back what was appended beyond `size`.
  func cut(to size: Int) throws {
    guard ftruncate(descriptor, off_t(size)) == 0 else {
      throw AuditError.system("cannot mend \(files.current)", errno)
    }
    self.size = size
  }

  /// Where the next record comes to stand.
  var end: AuditCursor { AuditCursor(file: firstSequence, offset: size) }

  private static func day(of time: time_t) -> String {
    var (time, parts) = (time, tm())
    gmtime_r(&time, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
  }

  private func syncDirectory() {
    let directory = Glibc.open(files.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return }
    // Best effort: some file systems cannot sync a directory.
    _ = fsync(directory)
    close(directory)
  }

  // MARK: The noted end

  /// Notes where the chain ends. Returns whether that worked; the log itself does not depend on it.
  @discardableResult
  func store(_ head: AuditHead) -> Bool { AuditFiles.store(head, at: files.head) }
}
