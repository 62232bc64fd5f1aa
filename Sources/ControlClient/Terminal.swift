import Foundation

/// Showing things to the person at the terminal.
public enum Terminal {
  /// `text` without characters that could move the cursor, rewrite what stands there, or hide or turn around others.
  public static func safe(_ text: String) -> String {
    String(
      String.UnicodeScalarView(
        text.unicodeScalars.map { scalar in
          switch scalar.properties.generalCategory {
          case .control, .format, .lineSeparator, .paragraphSeparator: "\u{fffd}"
          default: scalar
          }
        }))
  }

  /// Columns under a ruled header, as the guide shows listings.
  public static func table(_ header: [String], _ rows: [[String]]) -> String {
    let safeRows = rows.map { $0.map(safe) }
    let widths = header.indices.map { column in
      ([header] + safeRows).map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
    }
    func line(_ cells: [String]) -> String {
      zip(cells, widths).map { $0.padding(toLength: $1, withPad: " ", startingAt: 0) }.joined(separator: " ")
        .replacing(/\s+$/, with: "")
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
