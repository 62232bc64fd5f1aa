import Audit
import ControlAPI
import Dispatch
import Foundation
import Glibc
import Logging
import PKI
import Synchronization

/// How much of other hosts' audit logs is kept.
public struct HostLogBounds: Sendable {
  /// Bytes of one host's log; its oldest records are removed first.
  public var each = 1 << 30
  /// Bytes of all of them; beyond, nothing is taken until there is room again.
  public var all = 20 << 30
  /// Hosts that have a log here.
  public var hosts = 1_000

  public init() {}
}

/// The audit logs of the other hosts, as they ship them: DATA_DIR/log/hosts/HOST_ID/events.log.
///
/// A host adds to its own log only, and to no other's disk space: what it may fill is bounded, and nothing that it does
/// removes records of others. Thread-safe.
final class HostLogs: Sendable {
  private let directory: String
  private let bounds: HostLogBounds
  private let audit: AuditLog
  private let state = Mutex(State())
  /// Writing and syncing block: one batch at a time, in the order in which they come. A host has one under way, so hosts
  /// take turns.
  private let queue = DispatchQueue(label: "sallyport.host-logs", qos: .utility)
  private let logger = Logger(label: "audit")

  /// Invariant behind `@unchecked Sendable`: touched on the queue alone.
  private final class Open: @unchecked Sendable {
    var copies: [String: AuditCopy] = [:]
    var total = 0
    var measured: Date?
    var problems: [String: [Date]] = [:]
  }

  private struct State {
    /// Hosts that have a call under way.
    var busy: Set<String> = []
  }

  private let open = Open()
  /// Seconds after which the files are measured again.
  private static let measureInterval: TimeInterval = 30
  /// Holes and changes of one host that are put on record in an hour.
  private static let maximumProblems = 20

  init(directory: String, bounds: HostLogBounds, audit: AuditLog) {
    self.directory = directory
    self.bounds = bounds
    self.audit = audit
  }

  // MARK: Hosts

  /// Where the log of `host` ends here.
  func head(of host: HostIdentity) async throws -> AuditHead {
    guard exists(host.hostID) else { return .origin }
    return try await alone(host.hostID) { try self.copy(host.hostID).head }
  }

  /// Takes lines of the host's log.
  ///
  /// - Parameter followsGap: the host says that it has no record right before these any more.
  /// - Returns: where its log ends here now; that far it is on the disk.
  func take(
    _ lines: [UInt8], from host: HostIdentity, followsGap: Bool, isForeign: @escaping @Sendable (String) -> Bool
  ) async throws -> AuditHead {
    try await alone(host.hostID) {
      try self.makeRoom(for: lines.count, host.hostID)
      let copy = try self.copy(host.hostID)
      let result: AuditCopy.Result
      do {
        result = try copy.append(lines, followsGap: followsGap) { line in
          try HostRecord.check(line, of: host, isForeign: isForeign)
        }
      } catch let refusal as AuditCopy.Refusal {
        throw Self.error(refusal, head: copy.head)
      } catch {
        // After a failed write the files are looked at anew.
        if error is AuditError { self.open.copies[host.hostID] = nil }
        throw error
      }
      self.open.total += lines.count
      if let problem = result.problem { self.report(problem, host) }
      return copy.head
    }
  }

  private static func error(_ refusal: AuditCopy.Refusal, head: AuditHead) -> AuthError {
    switch refusal {
    case .outOfOrder:
      .exists("the log ends here with record \(head.sequence)", hint: "go on with the one after it")
    case .notARecord(let number): .invalid("the line after record \(number) is not an audit record")
    }
  }

  private func report(_ problem: String, _ host: HostIdentity) {
    logger.error(
      "an audit log that was shipped has a fault", metadata: ["host": "\(host.hostID)", "fault": "\(problem)"])
    var event = AuditEvent("audit.fault", code: "SPA05W")
    event.clusterName = host.clusterName
    event.name = host.hostID
    event.success = false
    event.message = "log of host \(host.name) (\(host.hostID)): \(problem)"
    audit.emit(event)
    open.problems[host.hostID, default: []].append(Date())
  }

  // MARK: Bounds

  private func makeRoom(for count: Int, _ host: String) throws {
    // Each puts a record into this server's own log, which a host must not be able to roll over.
    let recent = (open.problems[host] ?? []).filter { $0.timeIntervalSinceNow > -3600 }
    open.problems[host] = recent.isEmpty ? nil : recent
    guard recent.count < Self.maximumProblems else {
      throw AuthError.tooMany("the audit log of this host had \(recent.count) faults within an hour; look at the host")
    }
    if open.measured.map({ $0.timeIntervalSinceNow < -Self.measureInterval }) ?? true {
      open.total = hostIDs.reduce(0) { $0 + size($1) }
      open.measured = Date()
    }
    guard open.total + count <= bounds.all else {
      logger.error("hosts' audit logs fill their space; no more is taken", metadata: ["directory": "\(directory)"])
      throw AuthError.tooMany(
        "the Auth Service has no more room for audit logs of hosts: raise auth_service.audit.hosts_max_size, or remove "
          + "those of hosts that are gone from data_dir/log/hosts")
    }
    guard exists(host) || hostIDs.count < bounds.hosts else {
      throw AuthError.tooMany(
        "the Auth Service has audit logs of \(bounds.hosts) hosts: remove those of hosts that are gone from "
          + "data_dir/log/hosts")
    }
  }

  private func size(_ host: String) -> Int {
    let folder = "\(directory)/\(host)"
    let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return files.reduce(0) { sum, name in
      var status = stat()
      return stat("\(folder)/\(name)", &status) == 0 ? sum + Int(status.st_size) : sum
    }
  }

  private func copy(_ host: String) throws -> AuditCopy {
    if let copy = open.copies[host] { return copy }
    // Only with logs that were removed by hand are there more: the others are opened again.
    if open.copies.count >= bounds.hosts { open.copies = [:] }
    try PrivateFile.makeDirectory(directory)
    try PrivateFile.makeDirectory("\(directory)/\(host)")
    let copy = try AuditCopy(path: path(host), maximumSize: bounds.each)
    open.copies[host] = copy
    return copy
  }

  private func alone<Result: Sendable>(
    _ host: String, _ body: @escaping @Sendable () throws -> Result
  ) async throws -> Result {
    // The ID is of a certificate that this cluster signed; it becomes a file's name nevertheless.
    guard UUID(uuidString: host) != nil else { throw AuthError.invalid("the host's ID is not a UUID") }
    guard state.withLock({ $0.busy.insert(host).inserted }) else {
      throw AuthError.tooMany("this host has a batch of audit records under way already")
    }
    defer { state.withLock { _ = $0.busy.remove(host) } }
    do {
      return try await onQueue(body)
    } catch let error as AuditError {
      throw AuthError.internal(error.description)
    }
  }

  private func onQueue<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Swift.Result { try body() }) }
    }
  }

  // MARK: Readers

  private func path(_ host: String) -> String { "\(directory)/\(host)/events.log" }
  private func exists(_ host: String) -> Bool { FileManager.default.fileExists(atPath: path(host)) }

  private var hostIDs: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []).filter { UUID(uuidString: $0) != nil }
  }

  /// All logs that are here, by host.
  var logs: [HostLog] { hostIDs.sorted().map { HostLog(host: $0, path: path($0)) } }

  /// The sessions that run on `hosts`, as far as these have shipped their records.
  func openSessions(on hosts: [String]) async throws -> [OpenSession] {
    try await onQueue {
      try hosts.filter { UUID(uuidString: $0) != nil && self.exists($0) }.flatMap { host in
        try self.copy(host).openSessions.map { session in
          var session = session
          // By the certificate, whatever the record says.
          session.host = host
          return session
        }
      }
    }
  }
}

/// What another host may have in its log: what happens in sessions that it serves, and what its log says of itself.
enum HostRecord {
  private struct Fields: Decodable {
    var seq: Int
    var event: String
    var code: String
    var time: String
    var uid: String
    var serverID: String?

    enum CodingKeys: String, CodingKey {
      case seq, event, code, time, uid
      case serverID = "server_id"
    }
  }

  /// - Parameter isForeign: whether another host goes by that ID.
  static func check(
    _ line: UnsafeRawBufferPointer, of host: HostIdentity, isForeign: (String) -> Bool
  ) throws {
    guard JSONText.isPrintable(line), let fields = try? JSONDecoder().decode(Fields.self, from: Data(line)),
      isTime(fields.time)
    else { throw AuthError.invalid("a line of the batch is not an audit record") }
    let isSession = fields.event.hasPrefix("db.session.") && host.services.contains(.database)
    guard isSession || fields.event.hasPrefix("audit.") else {
      throw AuthError.forbidden(
        "a host that joined for \(host.services.map(\.rawValue).joined(separator: ",")) has no event \(fields.event)",
        hint: "a log that another service wrote belongs elsewhere: move data_dir/log away on that host")
    }
    if let server = fields.serverID, server != host.hostID, isForeign(server) {
      throw AuthError.forbidden("host \(host.hostID) speaks for host \(server)")
    }
  }

  /// `2006-01-02T15:04:05.000Z`: others would not sort.
  private static func isTime(_ text: String) -> Bool {
    let pattern = Array("0000-00-00T00:00:00.000Z".utf8)
    return text.utf8.count == pattern.count
      && zip(text.utf8, pattern).allSatisfy { $1 == 0x30 ? (0x30...0x39).contains($0) : $0 == $1 }
  }
}
