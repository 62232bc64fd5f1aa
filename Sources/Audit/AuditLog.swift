import Foundation
import Glibc
import Logging
import Metrics

/// One thing that happened, in Teleport's terms.
public struct AuditEvent: Codable, Sendable {
  public var event: String
  public var code: String
  public var uid = UUID().uuidString.lowercased()
  public var time = Date()
  public var clusterName: String?
  public var user: String?
  public var sessionID: String?
  public var success: Bool?
  public var message: String?
  public var databaseService: String?
  public var databaseURI: String?
  public var databaseName: String?
  public var databaseUser: String?
  public var clientAddress: String?
  /// What the client program calls itself: PostgreSQL's application_name, as in Teleport.
  public var userAgent: String?
  public var name: String?
  public var bytesFromClient: UInt64?
  public var bytesFromServer: UInt64?

  enum CodingKeys: String, CodingKey {
    case event, code, uid, time, user, success, message, name
    case clusterName = "cluster_name"
    case sessionID = "sid"
    case databaseService = "db_service"
    case databaseURI = "db_uri"
    case databaseName = "db_name"
    case databaseUser = "db_user"
    case clientAddress = "addr.remote"
    case userAgent = "user_agent"
    case bytesFromClient = "bytes_received"
    case bytesFromServer = "bytes_sent"
  }

  public init(_ event: String, code: String) {
    self.event = event
    self.code = code
  }
}

/// The append-only record: one JSON object a line in a file that only its owner may read.
///
/// JSON escapes line ends and control characters, `escapedForTerminals` the rest that some reader takes for them, so no
/// field can forge a second record. Thread-safe; writes happen in order on a queue of its own, never on a reactor.
public final class AuditLog: Sendable {
  private let descriptor: Int32
  private let queue = DispatchQueue(label: "sallyport.audit")
  private let logger = Logger(label: "audit")
  private let written = Counter(label: "sallyport_audit_events_total", dimensions: [("outcome", "written")])
  private let dropped = Counter(label: "sallyport_audit_events_total", dimensions: [("outcome", "dropped")])

  /// Opens (or makes) `path` for appending.
  public init(path: String) throws {
    descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw AuditError("cannot open \(path): \(String(cString: strerror(errno)))") }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & 0o077 == 0 else {
      close(descriptor)
      throw AuditError("\(path) can be read by others; run 'chmod 600 \(path)'")
    }
  }

  deinit { close(descriptor) }

  /// Appends `event`.
  public func emit(_ event: AuditEvent) {
    queue.async { [self] in
      do {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .iso8601
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var line = escapedForTerminals(try encoder.encode(event.bounded()))
        line.append(UInt8(ascii: "\n"))
        // One write(2) with O_APPEND: records of two writers cannot mix.
        let count = line.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        guard count == line.count else { throw AuditError(String(cString: strerror(errno))) }
        written.increment()
      } catch {
        dropped.increment()
        logger.error("audit event lost", metadata: ["event": "\(event.event)", "error": "\(error)"])
      }
    }
  }

  /// Waits until everything emitted so far is in the file.
  public func flush() { queue.sync {} }
}

/// The audit file cannot be opened or written.
public struct AuditError: Error, Sendable, CustomStringConvertible {
  public let description: String
  init(_ description: String) { self.description = description }
}
