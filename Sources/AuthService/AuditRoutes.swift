import Audit
import ControlAPI
import Dispatch
import Foundation
import Hummingbird
import TextForms

/// The audit log, for those whose rules allow to list events.
struct AuditRoutes {
  let auth: AuthServer
  /// Reading blocks: it has a queue of its own, which serves one caller at a time.
  private let queue = DispatchQueue(label: "sallyport.audit-reader", qos: .utility)

  init(auth: AuthServer) { self.auth = auth }

  func add(to router: Router<CallContext>) {
    router.get("/v1/audit/events") { request, context in
      _ = try context.authorized("list", on: "event", by: auth)
      let parameters = request.uri.queryParameters
      let query = try Self.query(parameters)
      let count = try Self.number(parameters, "limit") ?? 100
      let tail = try Self.number(parameters, "tail")
      let cursor = try parameters["cursor"].map { text in
        guard let cursor = AuditMerge.Cursor(String(text)) else {
          throw AuthError.invalid("cursor is not one of an earlier answer")
        }
        return cursor
      }
      let reader = AuditMerge(logs(of: parameters["host"].map(String.init)))
      let page = try await read {
        if let tail { return try reader.tail(query, count: tail) }
        return try reader.page(query, from: cursor, limit: count)
      }
      let answer = AuditEvents(records: page.lines, next: page.next.description, isAtEnd: page.isAtEnd)
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
    router.get("/v1/audit/verify") { request, context in
      _ = try context.authorized("list", on: "event", by: auth)
      let end = auth.audit.head
      let logs = logs(of: nil)
      let answer = try await read {
        var answer = AuditCheck(files: 0, records: 0, first: nil, last: nil, problems: [])
        for log in logs {
          let result = try AuditVerifier(path: log.path).verify(end: log.host == nil ? end : nil)
          answer.problems += result.problems.map { problem in log.host.map { "host \($0): \(problem)" } ?? problem }
          if log.host == nil {
            (answer.files, answer.records, answer.first, answer.last) = (
              result.files, result.records, result.first, result.last
            )
          } else {
            answer.hosts += 1
            answer.hostRecords += result.records
          }
        }
        answer.problems = Array(answer.problems.prefix(AuditCheck.maximumProblems))
        return answer
      }
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
  }

  /// This server's own log and those of the other hosts, or those of one host.
  private func logs(of host: String?) -> [HostLog] {
    let own = HostLog(host: nil, path: auth.audit.path)
    return ([own] + auth.hostLogs.logs).filter { host == nil || $0.host == host }
  }

  private func read<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    do {
      return try await withCheckedThrowingContinuation { continuation in
        queue.async { continuation.resume(with: Swift.Result { try body() }) }
      }
    } catch let error as AuditError {
      throw AuthError.internal(error.description)
    }
  }

  private static func query(_ parameters: Parameters) throws -> AuditQuery {
    var query = AuditQuery()
    query.from = try date(parameters, "from")
    query.to = try date(parameters, "to")
    query.events = parameters["event"].map { $0.split(separator: ",").map(String.init) } ?? []
    query.user = parameters["user"].map(String.init)
    query.database = parameters["db"].map(String.init)
    query.queryText = parameters["query_text"].map(String.init)
    return query
  }

  private static func date(_ parameters: Parameters, _ name: Substring) throws -> Date? {
    guard let text = parameters[name] else { return nil }
    if let date = Timestamp.date(text) { return date }
    throw AuthError.invalid("'\(name)' is not a time such as 2025-01-31T12:00:00Z")
  }

  private static func number(_ parameters: Parameters, _ name: Substring) throws -> Int? {
    guard let text = parameters[name] else { return nil }
    guard let number = Int(text), (0...1_000).contains(number) else {
      throw AuthError.invalid("'\(name)' must be a number from 0 to 1000")
    }
    return number
  }
}
