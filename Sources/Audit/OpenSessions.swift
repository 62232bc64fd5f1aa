import Foundation
import Glibc

/// The database sessions whose start is on record and whose end is not: kept so that the next start can write the ends
/// that a kill has left out, and so that who runs the cluster can see them.
///
/// A checkpoint beside the log says which were open at some place in it; from there on few records have to be read.
struct OpenSessions {
  /// The record of the start, by the session's ID.
  private(set) var starts: [String: [UInt8]] = [:]
  private let maximum: Int

  static let startEvent = "db.session.start"
  static let endEvent = "db.session.end"

  /// - Parameter maximum: sessions that are followed; further ones are not.
  init(maximum: Int = .max) { self.maximum = maximum }

  /// Takes note of a record.
  mutating func note(_ line: UnsafeRawBufferPointer) {
    guard let event = AuditRecord.event(line) else { return }
    if event.elementsEqual(Self.startEvent.utf8) {
      // One without success is a login that was refused.
      guard starts.count < maximum, LineFilter.position(of: Self.success, in: line) != nil,
        let id = Self.sessionID(line)
      else { return }
      starts[id] = Array(line)
    } else if event.elementsEqual(Self.endEvent.utf8), let id = Self.sessionID(line) {
      starts[id] = nil
    }
  }

  mutating func forgetAll() { starts = [:] }

  /// The starts, oldest first.
  var records: [[UInt8]] {
    starts.values.map { line in (line.withUnsafeBytes { AuditRecord.sequence($0) } ?? 0, line) }
      .sorted { $0.0 < $1.0 }.map(\.1)
  }

  // MARK: Ends

  /// What the record of a session's end shares with that of its start, and when it started.
  static func fields(ofStart line: UnsafeRawBufferPointer) -> (formed: [UInt8], started: String)? {
    guard let started = LineFilter.value(of: LineFilter.timeKey, in: line),
      let uid = LineFilter.value(of: uidKey, in: line),
      let end = LineFilter.position(of: success, in: line), uid.endIndex + 2 <= end
    else { return nil }
    // Behind the UID's closing quote and the comma.
    return (Array(line[(uid.endIndex + 2)..<end]), String(decoding: started, as: UTF8.self))
  }

  private static let success = Array("\"success\":true,".utf8)
  private static let sessionKey = Array("\"sid\":\"".utf8)
  private static let uidKey = Array("\"uid\":\"".utf8)

  private static func sessionID(_ line: UnsafeRawBufferPointer) -> String? {
    LineFilter.value(of: sessionKey, in: line).map { String(decoding: $0, as: UTF8.self) }
  }

  // MARK: Checkpoint

  /// Bytes of the log between checkpoints: so much is read at a start.
  static let checkpointInterval = 16 << 20
  private static let largestCheckpoint = 256 << 20

  /// What was open at the end of the log's files.
  static func load(_ files: AuditFiles, maximum: Int = .max) throws -> OpenSessions {
    var sessions = OpenSessions(maximum: maximum)
    var cursor = try sessions.readCheckpoint(files.open)
    // A log of an earlier version has none: its current file is looked at.
    if cursor == nil { cursor = try files.firstSequence(of: files.current).map { AuditCursor(file: $0, offset: 0) } }
    guard cursor != nil else { return sessions }
    var query = AuditQuery()
    query.events = [startEvent, endEvent]
    let reader = AuditReader(files)
    while true {
      let page = try reader.page(query, from: cursor, limit: AuditReader.maximumRecords)
      for line in page.lines { Array(line.utf8).withUnsafeBytes { sessions.note($0) } }
      if page.isAtEnd { return sessions }
      cursor = page.next
    }
  }

  /// Notes that these are what is open at `place`. Returns whether that worked; without it a start reads more.
  func storeCheckpoint(_ path: String, at place: AuditCursor) -> Bool {
    var bytes = Array("\(place)\n".utf8)
    for line in starts.values { bytes += line + [UInt8(ascii: "\n")] }
    return AuditFiles.replace(path, with: bytes, isSynced: true)
  }

  private mutating func readCheckpoint(_ path: String) throws -> AuditCursor? {
    var place: AuditCursor?
    try AuditReader.withFile(path) { descriptor, size in
      guard size > 0, size <= Self.largestCheckpoint else { return }
      try AuditReader.read(descriptor, at: 0, count: size).withUnsafeBytes { bytes in
        for (index, line) in Lines(bytes).enumerated() {
          if index == 0 {
            place = AuditCursor(String(decoding: line, as: UTF8.self))
          } else if place != nil {
            note(line)
          }
        }
      }
    }
    return place
  }
}

/// A database session that runs now, as the record of its start describes it.
public struct OpenSession: Codable, Sendable, Equatable {
  public var id: String
  public var user: String
  public var database: String
  public var databaseUser: String
  public var databaseName: String
  /// The host whose Database Service serves it.
  public var host: String
  public var started: String
  public var clientAddress: String

  private enum CodingKeys: String, CodingKey {
    case id = "sid"
    case user
    case database = "db_service"
    case databaseUser = "db_user"
    case databaseName = "db_name"
    case host = "server_id"
    case started = "time"
    case clientAddress = "addr.remote"
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    func text(_ key: CodingKeys) throws -> String { try values.decodeIfPresent(String.self, forKey: key) ?? "" }
    id = try text(.id)
    user = try text(.user)
    database = try text(.database)
    databaseUser = try text(.databaseUser)
    databaseName = try text(.databaseName)
    host = try text(.host)
    started = try text(.started)
    clientAddress = try text(.clientAddress)
  }

  /// The sessions of records that say of a start; what cannot be read is left out.
  static func all(_ records: [[UInt8]]) -> [OpenSession] {
    let decoder = JSONDecoder()
    return records.compactMap { try? decoder.decode(OpenSession.self, from: Data($0)) }
  }
}
