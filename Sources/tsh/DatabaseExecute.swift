import ArgumentParser
import ControlAPI
import ControlClient
import Dispatch
import Foundation
import Synchronization

/// `tsh db exec`: one command on many databases.
struct Execute: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exec", abstract: "Run one SQL command on several databases.")

  @Argument(help: "The SQL.") var sql: String
  @Argument(help: "Names of databases; or choose them with the options below.") var names: [String] = []
  @Option(help: "Names of databases, comma-separated.") var dbs: String?
  @Option(help: "Databases with these labels, as env=dev,team=a.") var labels: String?
  @OptionGroup var filter: DatabaseFilter
  @OptionGroup var route: RouteOptions
  @Option(help: "How many databases at once, 1 to \(maximumParallel).") var parallel = 1
  @Option(help: "Write the output of each database to NAME.output in this directory, and a summary.json.")
  var outputDir: String?
  @Flag(help: "Do not ask before running on databases that a filter chose.") var noConfirm = false
  @OptionGroup var common: CommonOptions

  private static let maximumParallel = 16

  private struct Outcome: Encodable, Sendable {
    let database: String
    let success: Bool
    let error: String?
    let output: String?
  }

  private struct Summary: Encodable {
    let databases: [Outcome]
    let success: Int
    let failure: Int
    let total: Int
  }

  func run() async throws {
    try await runTool {
      guard (1...Self.maximumParallel).contains(parallel) else {
        throw ToolError("--parallel is from 1 to \(Self.maximumParallel)")
      }
      try Psql.requirePresence()
      let credentials = try common.credentials()
      let chosen = try choose(try await DatabaseAccess.list(credentials, insecure: common.insecure))
      if let outputDir {
        try FileManager.default.createDirectory(atPath: outputDir, withIntermediateDirectories: true)
      }
      let outcomes = await executeAll(chosen, credentials)
      let failed = outcomes.filter { !$0.success }
      if let outputDir {
        let summary = Summary(
          databases: outcomes, success: outcomes.count - failed.count, failure: failed.count, total: outcomes.count)
        try Data((try Terminal.formatted(summary, .json) + "\n").utf8).write(
          to: URL(fileURLWithPath: outputDir + "/summary.json"))
      }
      guard failed.isEmpty else {
        throw ToolError(
          "failed on \(failed.count) of \(outcomes.count) databases: \(failed.map(\.database).joined(separator: ", "))")
      }
    }
  }

  // MARK: Choosing

  private func choose(_ listings: [DatabaseListing]) throws -> [String] {
    let named = names + (dbs?.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) } ?? [])
    let isFiltered = filter.search != nil || filter.query != nil || labels != nil
    guard named.isEmpty == isFiltered else {
      throw ToolError(
        named.isEmpty ? "no database is named" : "name databases or filter them, not both",
        hint: "give names, or --search, --labels or --query")
    }
    guard isFiltered else {
      for name in named where !listings.contains(where: { $0.name == name }) {
        throw ToolError("database '\(name)' not found", hint: "see 'tsh db ls' for those you can reach")
      }
      return named
    }
    let found = try filter.apply(listings, labels: labels).map(\.name)
    guard !found.isEmpty else { throw ToolError("no database passes the filter", hint: "see 'tsh db ls'") }
    if !noConfirm {
      let list = found.map { Terminal.safe($0) }.joined(separator: ", ")
      let answer = try Prompt.ask(
        "Run on \(found.count) databases (\(list))? [y/N]: ", isShown: true, mend: "use --no-confirm"
      ).revealText()
      guard ["y", "yes"].contains(answer?.lowercased()) else { throw ToolError("not confirmed: nothing has been run") }
    }
    return found
  }

  // MARK: Running

  private func executeAll(_ names: [String], _ credentials: Credentials) async -> [Outcome] {
    await withTaskGroup(of: (Int, Outcome).self) { group in
      var outcomes: [Int: Outcome] = [:]
      for (index, name) in names.enumerated() {
        if index >= parallel, let (position, outcome) = await group.next() { outcomes[position] = outcome }
        group.addTask { (index, await execute(name, credentials)) }
      }
      for await (position, outcome) in group { outcomes[position] = outcome }
      return names.indices.compactMap { outcomes[$0] }
    }
  }

  private func execute(_ name: String, _ credentials: Credentials) async -> Outcome {
    let file = outputDir.map { "\($0)/\(name).output" }
    do {
      guard !name.contains("/"), !name.hasPrefix(".") else { throw ToolError("'\(name)' cannot name a file") }
      let session = try await DatabaseAccess.logIn(
        name, user: route.dbUser, database: route.dbName, credentials, insecure: common.insecure)
      if parallel == 1, file == nil { OutputLines.announce("Executing command for '\(Terminal.safe(name))'.") }
      let status = try await runPsql(session, file: file)
      if parallel == 1, file == nil { OutputLines.announce("") }
      return Outcome(
        database: name, success: status == 0, error: status == 0 ? nil : "psql ended with status \(status)",
        output: file)
    } catch {
      FileHandle.standardError.write(Data("ERROR: \(name): \(Terminal.safe("\(error)"))\n".utf8))
      return Outcome(database: name, success: false, error: "\(error)", output: nil)
    }
  }

  private func runPsql(_ session: DatabaseSession, file: String?) async throws -> Int32 {
    let (sql, prefix) = (sql, parallel > 1 ? "[\(Terminal.safe(session.database.name))] " : "")
    return try await withCheckedThrowingContinuation { continuation in
      DispatchQueue.global().async {
        continuation.resume(
          with: Result {
            let lines = try OutputLines(prefix: prefix, file: file)
            defer { lines.finish() }
            return try Psql.runChild(
              environment: session.environment, arguments: ["--no-psqlrc", "-c", sql], output: lines.append)
          })
      }
    }
  }
}

/// Passes output on in whole lines, so that those of several databases do not mix. Used by one thread at a time.
private final class OutputLines {
  private static let stdoutLock = Mutex(())
  /// A line longer than this is passed on in parts.
  private static let maximumLine = 1 << 20

  private let prefix: String
  private let file: FileHandle?
  private var pending = Data()

  /// - Parameter file: receives everything in place of stdout, without prefix.
  init(prefix: String, file: String?) throws {
    self.prefix = prefix
    self.file = try file.map { path in
      // What queries return is for the one who ran them.
      guard FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o600]),
        let handle = FileHandle(forWritingAtPath: path)
      else { throw ToolError("cannot write \(path)") }
      return handle
    }
  }

  func append(_ data: Data) {
    if let file { return file.write(data) }
    pending.append(data)
    guard let end = pending.lastIndex(of: 0x0a) else {
      if pending.count > Self.maximumLine { finish() }
      return
    }
    write(pending[pending.startIndex...end])
    pending = Data(pending[(end + 1)...])
  }

  func finish() {
    if !pending.isEmpty { write(pending + [0x0a]) }
    pending = Data()
  }

  private func write(_ lines: Data) {
    guard !prefix.isEmpty else { return Self.write(lines) }
    var marked = Data()
    for line in lines.split(separator: 0x0a, omittingEmptySubsequences: false).dropLast() {
      marked.append(Data(prefix.utf8) + line + [0x0a])
    }
    Self.write(marked)
  }

  static func announce(_ text: String) { write(Data((text + "\n").utf8)) }

  private static func write(_ data: Data) { stdoutLock.withLock { _ in FileHandle.standardOutput.write(data) } }
}
