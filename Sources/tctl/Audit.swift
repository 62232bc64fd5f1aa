import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation
import TextForms

/// `tctl audit ...`.
struct Audit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The audit log.", subcommands: [Tail.self, Search.self])

  struct Tail: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show the latest events.")
    @Flag(name: .shortAndLong, help: "Go on showing events as they come.") var follow = false
    @Option(name: [.customShort("n"), .long], help: "How many to begin with.") var lines = 20
    @OptionGroup var choice: EventChoice
    @Option(help: "text or json, one record a line.") var format = OutputFormat.text
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        try choice.check(format)
        let parameters = try choice.parameters
        var page: AuditEvents = try await client.get(
          EventChoice.path(parameters + [("tail", String(min(max(0, lines), 1_000)))]))
        EventPrinter.show(page.records, format)
        while follow {
          // Full pages follow at once; at the end of the log the next look is a second later.
          if page.isAtEnd { try await Task.sleep(for: .seconds(1)) }
          page = try await client.get(EventChoice.path(parameters + [("limit", "1000"), ("cursor", page.next)]))
          EventPrinter.show(page.records, format)
        }
      }
    }
  }

  struct Search: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show the events that match, oldest first.")
    @Option(help: "Earliest time: 2025-01-31T12:00:00Z, 2025-01-31, or a duration such as 24h for that long ago.")
    var from: String?
    @Option(help: "Latest time, written likewise.") var to: String?
    @OptionGroup var choice: EventChoice
    @Option(help: "Stop after so many events.") var limit = 1_000
    @Option(help: "text, json (one record a line) or yaml.") var format = OutputFormat.text
    @Flag(help: "Check first that no record is missing or changed.") var verify = false
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        guard limit > 0 else { throw ToolError("--limit must be positive") }
        var parameters = try choice.parameters
        if let from { parameters.append(("from", try EventChoice.time(from, "--from"))) }
        if let to { parameters.append(("to", try EventChoice.time(to, "--to"))) }
        if verify { try await Self.check(client) }
        var (cursor, shown): (String?, Int) = (nil, 0)
        while shown < limit {
          let part = [("limit", String(min(limit - shown, 1_000)))] + (cursor.map { [("cursor", $0)] } ?? [])
          let page: AuditEvents = try await client.get(EventChoice.path(parameters + part))
          EventPrinter.show(page.records, format)
          shown += page.records.count
          guard !page.isAtEnd else { return }
          cursor = page.next
        }
        FileHandle.standardError.write(Data("Stopped after \(shown) events; raise --limit or narrow --from.\n".utf8))
      }
    }

    private static func check(_ client: APIClient) async throws {
      let check: AuditCheck = try await client.get("/v1/audit/verify")
      guard check.problems.isEmpty else {
        throw ToolError(
          "the audit log is not intact: \(check.problems.joined(separator: "; "))",
          hint: "compare data_dir/log on the auth host with a backup")
      }
      let range = check.first.map { "\($0) to \(check.last ?? $0)" } ?? "none"
      FileHandle.standardError.write(
        Data("Audit log intact: records \(range) in \(check.files) file(s), each chained to the one before.\n".utf8))
      guard check.hosts > 0 else { return }
      FileHandle.standardError.write(
        Data("So are the logs of \(check.hosts) other host(s), \(check.hostRecords) records.\n".utf8))
    }
  }
}

/// Which events are asked for.
struct EventChoice: ParsableArguments {
  @Option(help: "Names of events, such as db.session.query, separated by commas.") var event: String?
  @Option(help: "Who did it.") var user: String?
  @Option(help: "Name of the database in the cluster.") var db: String?
  @Option(help: "ID of a host: events of the log that it ships only.") var host: String?
  @Option(help: "Part of the statement; case of letters does not matter.") var queryText: String?

  var parameters: [(String, String)] {
    get throws {
      [("event", event), ("user", user), ("db", db), ("query_text", queryText), ("host", host)].compactMap {
        name, value in
        value.map { (name, $0) }
      }
    }
  }

  func check(_ format: OutputFormat) throws {
    guard format != .yaml else { throw ToolError("a stream of events is text or json", hint: "use --format=json") }
  }

  static func path(_ parameters: [(String, String)]) -> String {
    "/v1/audit/events?" + parameters.map { "\($0)=\(APIClient.segment($1))" }.joined(separator: "&")
  }

  /// A time as the API wants it.
  static func time(_ text: String, _ option: String) throws -> String {
    let format = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
    if let ago = GoDuration(text)?.seconds { return (Date() - Double(ago)).formatted(format) }
    let full = text.contains("T") ? text : text + "T00:00:00Z"
    if Timestamp.date(full) != nil { return full }
    throw ToolError("\(option) '\(text)' is not a time", hint: "write 2025-01-31T12:00:00Z, 2025-01-31 or 24h")
  }
}

/// Events for people and for programs. What a record holds may come from anybody: nothing of it reaches the terminal raw.
enum EventPrinter {
  static func show(_ records: [String], _ format: OutputFormat) {
    for record in records { print(line(record, format)) }
    // Through a pipe, too, events are to be seen as they come.
    fflush(nil)
  }

  private static func line(_ record: String, _ format: OutputFormat) -> String {
    switch format {
    case .json: record
    case .yaml: (try? "---\n" + Terminal.yaml(Data(record.utf8))) ?? Terminal.safe(record)
    case .text: text(record)
    }
  }

  private static func text(_ record: String) -> String {
    guard let fields = try? JSONSerialization.jsonObject(with: Data(record.utf8)) as? [String: Any] else {
      return Terminal.safe(record)
    }
    func field(_ name: String) -> String? { fields[name] as? String }
    let database = [field("db_service"), field("db_name")].compactMap { $0 }.joined(separator: "/")
    let words = [
      field("time"), field("event"), field("code"), field("user").map { "user=\($0)" },
      field("name").map { "name=\($0)" }, database.isEmpty ? nil : "db=\(database)",
      field("db_user").map { "db_user=\($0)" }, field("error").map { "error=\($0)" },
      field("db_query") ?? field("query"),
      (fields["db_query_truncated"] as? Bool).map { _ in "[truncated]" },
      (fields["db_query_parameters"] as? [String]).map { "[\($0.joined(separator: ", "))]" },
      field("message").map { "(\($0))" }, field("host_id").map { "host=\($0)" },
    ]
    // One event, one line: line ends in a statement show as spaces.
    let line = words.compactMap { $0 }.joined(separator: " ")
    return Terminal.safe(line.replacing("\r\n", with: " ").replacing("\n", with: " ").replacing("\t", with: " "))
  }
}
