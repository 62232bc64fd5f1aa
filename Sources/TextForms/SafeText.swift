/// Text from elsewhere that a person is to read.
public enum SafeText {
  /// `text` in one line, without characters that could move the cursor, rewrite what stands there, or hide or turn around
  /// others: U+FFFD stands in their place.
  public static func line(_ text: String) -> String {
    // Nearly all text is; the properties of scalars take their time.
    if isPlain(text) { return text }
    return String(String.UnicodeScalarView(text.unicodeScalars.map { $0.isUnsafeToShow ? "\u{fffd}" : $0 }))
  }

  /// Printable ASCII: one byte, one column.
  public static func isPlain(_ text: String) -> Bool { text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f } }
}

extension Unicode.Scalar {
  /// Controls, ends of lines, and what is invisible or turns the direction of text around.
  public var isUnsafeToShow: Bool {
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }
}
