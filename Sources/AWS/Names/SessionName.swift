import Crypto
import TextForms

/// Names of role sessions, which AWS's own records show (STS API Reference, RoleSessionName).
public enum SessionName {
  private static let lengths = 2...64

  /// A session name for `text`: the text itself where AWS takes it (`[\w+=,.@-]`, 2 to 64 of them).
  ///
  /// Else a likeness that ends in a digest, so that no two texts share a name.
  public static func make(_ text: String) -> String {
    let likeness = String(text.unicodeScalars.map { isAllowed($0) ? Character($0) : "_" })
    guard likeness != text || !lengths.contains(text.utf8.count) else { return text }
    return likeness.prefix(lengths.upperBound - 9) + "-" + Hex.encode(SHA256.hash(data: Array(text.utf8)).prefix(4))
  }

  private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
    scalar.isASCII
      && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || "_+=,.@-".unicodeScalars.contains(scalar))
  }
}
