import Audit
import PostgresWire
import TextForms

/// Which statements are recorded, and how much of them.
public enum QueryAuditLevel: String, Sendable, CaseIterable {
  /// None.
  case off
  /// Each executed statement, each failure.
  case statements
  /// Besides, each message that prepares, binds, executes or closes one.
  case `protocol`
}

/// Turns operations of one session into audit records.
struct StatementRecords {
  /// Where records go.
  struct Output {
    let writer: AuditWriter
    /// To be added to monotonic milliseconds to get those since 1970.
    let clockOffset: Int64
  }

  /// The session's own fields: user, database, session ID...
  let context: [UInt8]
  let level: QueryAuditLevel
  let includesParameters: Bool

  /// - Parameter prepared: as it is before the operation.
  func write(
    _ operation: Operation, _ outcome: Operation.Outcome, _ prepared: PreparedStatements, _ output: Output
  ) {
    if level == .protocol { writeMessage(operation, outcome, output) }
    var hasFailed = false
    if case .failed = outcome { hasFailed = true }
    switch operation.kind {
    case .query:
      let query = FrontendMessage.query(operation.body)
      let length = query.isWhole ? query.bytes.count : operation.bodyLength - 1
      writeQuery(operation, outcome, output) { Self.field(query.bytes, length, &$0) }
    case .execute:
      let portal = FrontendMessage.execute(operation.body)
      writeExecution(operation, outcome, prepared.portal(portal), portal, output)
    case .bind where hasFailed:
      let portal = portal(FrontendMessage.bind(operation.body), prepared)
      writeExecution(operation, outcome, portal, [], output)
    case .parse where hasFailed:
      let (name, query) = FrontendMessage.parse(operation.body)
      writeQuery(operation, outcome, output) { text in
        Self.field(query.bytes, query.isWhole ? query.bytes.count : operation.bodyLength - name.count - 4, &text)
        Self.field("statement_name", name, &text)
      }
    case .sync where hasFailed:
      // The implicit transaction failed as it ended, for example by a deferred constraint.
      writeQuery(operation, outcome, output) { _ in }
    case .functionCall: writeFunctionCall(operation, outcome, output)
    case .bind, .parse, .sync, .describe, .close: break
    }
  }

  /// The portal that a Bind makes; without a statement if the name is missing or not known.
  func portal(
    _ bind: (portal: [UInt8], statement: [UInt8]?, values: [FrontendMessage.Value]), _ prepared: PreparedStatements
  ) -> PreparedStatements.Portal {
    PreparedStatements.Portal(
      statementName: bind.statement ?? [], statement: bind.statement.flatMap(prepared.statement),
      parameters: parameters(bind.values))
  }

  /// Values as text; binary ones in hex as PostgreSQL writes bytea. Empty unless parameters are recorded.
  func parameters(_ values: [FrontendMessage.Value]) -> [String] {
    guard includesParameters else { return [] }
    return values.map { value in
      switch value {
      case .null: "NULL"
      case .text(let bytes): Self.readable(bytes)
      case .binary(let bytes): "\\x" + Hex.encode(bytes)
      case .cut: "[cut off]"
      }
    }
  }

  // MARK: db.session.query

  private func writeExecution(
    _ operation: Operation, _ outcome: Operation.Outcome, _ portal: PreparedStatements.Portal?, _ portalName: [UInt8],
    _ output: Output
  ) {
    writeQuery(operation, outcome, output) { text in
      if let statement = portal?.statement {
        Self.field(statement.query, statement.length, &text)
      } else {
        text.field("db_query_unknown", true)
      }
      if let portal {
        Self.field("statement_name", portal.statementName, &text)
        if !portal.parameters.isEmpty { text.field("db_query_parameters", portal.parameters) }
      }
      Self.field("portal_name", portalName, &text)
    }
  }

  private func writeQuery(
    _ operation: Operation, _ outcome: Operation.Outcome, _ output: Output, _ fields: (inout JSONText) -> Void
  ) {
    if case .failed = outcome {
      write("db.session.query.failed", "TDB02W", operation, outcome, output, fields)
    } else {
      write("db.session.query", "TDB02I", operation, outcome, output, fields)
    }
  }

  private func writeFunctionCall(_ operation: Operation, _ outcome: Operation.Outcome, _ output: Output) {
    guard let (function, values) = FrontendMessage.functionCall(operation.body) else { return }
    write("db.session.postgres.function", "TPG04I", operation, outcome, output) { text in
      text.field("function_oid", Int(function))
      let arguments = parameters(values)
      if !arguments.isEmpty { text.field("function_args", arguments) }
    }
  }

  // MARK: Messages

  private func writeMessage(_ operation: Operation, _ outcome: Operation.Outcome, _ output: Output) {
    let family = "db.session.postgres.statements."
    switch operation.kind {
    case .parse:
      let (name, query) = FrontendMessage.parse(operation.body)
      write(family + "parse", "TPG00I", operation, outcome, output) { text in
        Self.field("statement_name", name, &text)
        query.bytes.withUnsafeBytes { text.field("query", $0) }
      }
    case .bind:
      let bind = FrontendMessage.bind(operation.body)
      write(family + "bind", "TPG01I", operation, outcome, output) { text in
        Self.field("statement_name", bind.statement ?? [], &text)
        Self.field("portal_name", bind.portal, &text)
        let parameters = parameters(bind.values)
        if !parameters.isEmpty { text.field("parameters", parameters) }
      }
    case .execute:
      write(family + "execute", "TPG02I", operation, outcome, output) { text in
        Self.field("portal_name", FrontendMessage.execute(operation.body), &text)
      }
    case .close:
      guard let (kind, name) = FrontendMessage.target(operation.body) else { return }
      write(family + "close", "TPG03I", operation, outcome, output) { text in
        Self.field(kind == UInt8(ascii: "S") ? "statement_name" : "portal_name", name, &text)
      }
    case .query, .describe, .sync, .functionCall: break
    }
  }

  // MARK: Parts

  private func write(
    _ event: String, _ code: String, _ operation: Operation, _ outcome: Operation.Outcome, _ output: Output,
    _ fields: (inout JSONText) -> Void
  ) {
    let time = Int64(clamping: operation.time) &+ output.clockOffset
    output.writer.write(event, code: code, at: time) { text in
      text.fields(context)
      fields(&text)
      switch outcome {
      case .succeeded: text.field("success", true)
      case .failed(let response):
        text.field("success", false)
        if let state = response.sqlState { text.field("error", state) }
        if let message = response.message { text.field("message", message) }
      case .unknown: break
      }
    }
  }

  /// The text, and how long the whole was if this is not all of it.
  private static func field(_ query: [UInt8], _ length: Int, _ text: inout JSONText) {
    query.withUnsafeBytes { text.field("db_query", $0) }
    guard query.count < length else { return }
    text.field("db_query_truncated", true)
    text.field("db_query_length", length)
  }

  private static func field(_ name: StaticString, _ value: [UInt8], _ text: inout JSONText) {
    guard !value.isEmpty else { return }
    value.withUnsafeBytes { text.field(name, $0) }
  }

  /// Text that may not be UTF-8; what is not shows as `\xNN`, as everywhere in the log.
  private static func readable(_ bytes: [UInt8]) -> String {
    String(validating: bytes, as: UTF8.self) ?? "\\x" + Hex.encode(bytes)
  }
}
