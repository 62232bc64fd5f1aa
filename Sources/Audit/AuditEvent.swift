import Foundation

/// One thing that happened, in Teleport's terms. docs/audit.md lists the events, their codes and fields.
public struct AuditEvent: Sendable {
  /// A field that is not among the common ones below.
  public enum Value: Sendable, Equatable {
    case text(String)
    case number(Int)
    case flag(Bool)
    case texts([String])
    case pairs([String: String])
  }

  public var event: String
  public var code: String
  public var time = Date()
  public var clusterName: String?
  /// Who did it.
  public var user: String?
  /// Whom or what it was done to.
  public var name: String?
  public var clientAddress: String?
  /// What the client program calls itself: PostgreSQL's application_name, as in Teleport.
  public var userAgent: String?
  public var success: Bool?
  /// What a program can go by: an SQLSTATE, for instance.
  public var error: String?
  /// What a person can read.
  public var message: String?

  public var sessionID: String?
  public var databaseService: String?
  public var databaseProtocol: String?
  public var databaseType: String?
  public var databaseURI: String?
  public var databaseName: String?
  public var databaseUser: String?
  public var bytesFromClient: UInt64?
  public var bytesFromServer: UInt64?

  /// Fields of this event only.
  public var extra: [(name: StaticString, value: Value)] = []

  public init(_ event: String, code: String) {
    self.event = event
    self.code = code
  }

  /// The same circumstances, another event, now.
  public func followed(by event: String, code: String) -> AuditEvent {
    var next = self
    next.event = event
    next.code = code
    next.time = Date()
    return next
  }

  /// Appends all fields but event, code, uid and time.
  public func encodeFields(into text: inout JSONText) {
    if let clusterName { text.field("cluster_name", clusterName) }
    if let user { text.field("user", user) }
    if let name { text.field("name", name) }
    if let sessionID { text.field("sid", sessionID) }
    if let databaseService { text.field("db_service", databaseService) }
    if let databaseProtocol { text.field("db_protocol", databaseProtocol) }
    if let databaseType { text.field("db_type", databaseType) }
    if let databaseURI { text.field("db_uri", databaseURI) }
    if let databaseName { text.field("db_name", databaseName) }
    if let databaseUser { text.field("db_user", databaseUser) }
    if let clientAddress { text.field("addr.remote", clientAddress) }
    if let userAgent { text.field("user_agent", userAgent) }
    if let bytesFromClient { text.field("bytes_received", Int(clamping: bytesFromClient)) }
    if let bytesFromServer { text.field("bytes_sent", Int(clamping: bytesFromServer)) }
    for (name, value) in extra {
      switch value {
      case .text(let value): text.field(name, value)
      case .number(let value): text.field(name, value)
      case .flag(let value): text.field(name, value)
      case .texts(let values): text.field(name, values)
      case .pairs(let pairs): text.field(name, pairs)
      }
    }
    if let success { text.field("success", success) }
    if let error { text.field("error", error) }
    if let message { text.field("message", message) }
  }
}
