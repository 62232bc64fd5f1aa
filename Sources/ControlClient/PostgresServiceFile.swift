import Foundation
import PKI

/// libpq's connection service file: PGSERVICEFILE, else ~/.pg_service.conf
/// ([libpq-pgservice](https://www.postgresql.org/docs/current/libpq-pgservice.html)).
///
/// Sections of other programs, comments and order are kept byte by byte.
public struct PostgresServiceFile: Sendable {
  private let path: String

  private static let maximumSize = 1 << 20

  public init(environment: [String: String] = ProcessInfo.processInfo.environment) {
    let named =
      environment["PGSERVICEFILE"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory() + "/.pg_service.conf"
    // A link, as people who keep such files elsewhere make, stays one.
    path = URL(fileURLWithPath: named).resolvingSymlinksInPath().path
  }

  /// Writes `section`, in place of one of that name.
  public func set(_ section: String, _ settings: [(key: String, value: String)]) throws {
    for text in [section] + settings.flatMap({ [$0.key, $0.value] }) {
      guard !text.contains(where: \.isNewline), !text.contains("\0") else {
        throw ToolError("'\(Terminal.safe(text))' cannot be written to \(path)")
      }
    }
    guard !section.contains("]") else { throw ToolError("'\(section)' cannot be the name of a service") }
    let lines = ["[\(section)]"] + settings.map { "\($0.key)=\($0.value)" }
    var kept = try without(section)
    if let last = kept.last, !last.isEmpty { kept.append("") }
    try write(kept + lines)
  }

  /// Takes the sections out; does nothing where there are none.
  public func remove(_ sections: [String]) throws {
    guard FileManager.default.fileExists(atPath: path) else { return }
    let before = try lines()
    let after = sections.reduce(before) { Self.without($1, $0) }
    if after != before { try write(after) }
  }

  private func without(_ section: String) throws -> [String] { Self.without(section, try lines()) }

  private static func without(_ section: String, _ lines: [String]) -> [String] {
    var kept: [String] = []
    var isOurs = false
    for line in lines {
      let trimmed = line.trimmingCharacters(in: .whitespaces)
      if trimmed.hasPrefix("[") {
        isOurs = trimmed.hasPrefix("[\(section)]")
        // The empty line that parted the section from the one before goes with it.
        if isOurs, kept.last?.isEmpty == true { kept.removeLast() }
      }
      // What is no setting belongs to whoever wrote it.
      if !isOurs || trimmed.hasPrefix("#") { kept.append(line) }
    }
    return kept
  }

  private func lines() throws -> [String] {
    guard FileManager.default.fileExists(atPath: path) else { return [] }
    guard let data = FileManager.default.contents(atPath: path), data.count <= Self.maximumSize,
      let text = String(data: data, encoding: .utf8)
    else { throw ToolError("\(path) cannot be read as text of at most 1 MiB") }
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    if lines.last == "" { lines.removeLast() }
    return lines
  }

  private func write(_ lines: [String]) throws {
    do {
      try PrivateFile.write(lines.map { $0 + "\n" }.joined(), to: path)
    } catch let error as PKIError {
      throw ToolError(error.description)
    }
  }
}
