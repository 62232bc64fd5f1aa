import Foundation

/// Points in time as ISO 8601 (RFC 3339) writes them, with fractions of a second or without.
public enum Timestamp {
  /// Longer than any that means something.
  private static let maximumLength = 64

  /// `nil` for what is none. Foundation's `ISO8601DateFormatter` is not used: its ICU dies of some long fractions.
  public static func date(_ text: some StringProtocol) -> Date? {
    guard text.utf8.count <= maximumLength else { return nil }
    for style in [Date.ISO8601FormatStyle.iso8601, Date.ISO8601FormatStyle(includingFractionalSeconds: true)] {
      if let date = try? Date(String(text), strategy: style) { return date }
    }
    return nil
  }
}
