import Foundation
import TextForms

/// Showing things to the person at the terminal.
public enum Terminal {
  /// `text` without characters that could move the cursor, rewrite what stands there, or hide or turn around others.
  public static func safe(_ text: String) -> String { SafeText.line(text) }

  /// The same for text of several lines, which stay lines.
  public static func safeLines(_ lines: String) -> String {
    lines.split(separator: "\n", omittingEmptySubsequences: false).map { safe(String($0)) }.joined(separator: "\n")
  }

  /// Columns under a ruled header, as the guide shows listings.
  public static func table(_ header: [String], _ rows: [[String]]) -> String {
    let safeRows = rows.map { $0.map(safe) }
    func width(_ text: String) -> Int { SafeText.isPlain(text) ? text.utf8.count : text.count }
    var widths = header.map(width)
    for row in safeRows { for (column, cell) in row.enumerated() { widths[column] = max(widths[column], width(cell)) } }
    func line(_ cells: [String]) -> String {
      var line = ""
      // Spaces only between: none at the end of a line.
      var gap = 0
      for (column, cell) in cells.enumerated() {
        if !cell.isEmpty {
          line += String(repeating: " ", count: gap) + cell
          gap = 0
        }
        gap += widths[column] + 1 - width(cell)
      }
      return line
    }
    return ([line(header), line(widths.map { String(repeating: "-", count: $0) })] + safeRows.map(line)).joined(
      separator: "\n")
  }

  /// `value` as `json` or `yaml`.
  public static func formatted(_ value: some Encodable, _ format: OutputFormat) throws -> String {
    let encoder = JSONEncoder()
    encoder.dateEncodingStrategy = .iso8601
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let json = try encoder.encode(value)
    guard format == .yaml else { return String(decoding: json, as: UTF8.self) }
    return try yaml(json)
  }
}
