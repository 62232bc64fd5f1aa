/// Words of a command line that a person is to paste into a POSIX shell.
public enum ShellWord {
  private static let plain = Set("@%+=:,./-_".utf8)

  /// `text` as one word that means itself, in quotes only if it needs them.
  public static func quoted(_ text: String) -> String {
    let isPlain =
      !text.isEmpty
      && text.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
          || plain.contains(byte)
      }
    return isPlain
      ? text : "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: #"'\''"#) + "'"
  }
}
