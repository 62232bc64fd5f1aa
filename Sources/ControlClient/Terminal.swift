import Foundation
import Glibc
import Secrets

/// Talking to the person at the terminal.
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

  /// Asks on the terminal itself with echo off; the terminal is put right again even when interrupted.
  public static func readPassword(_ prompt: String) throws -> Secret {
    let descriptor = open("/dev/tty", O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw ToolError("there is no terminal to ask for the password", hint: "use --password-file=FILE, or - for stdin")
    }
    defer { close(descriptor) }
    var before = termios()
    guard tcgetattr(descriptor, &before) == 0 else { throw ToolError("the terminal cannot be read") }
    var silent = before
    // With ISIG off ctrl-C arrives as a byte, so no signal can leave the terminal without echo.
    silent.c_lflag &= ~tcflag_t(ECHO | ISIG)
    tcsetattr(descriptor, TCSAFLUSH, &silent)
    defer { tcsetattr(descriptor, TCSAFLUSH, &before) }
    _ = prompt.withCString { write(descriptor, $0, strlen($0)) }
    var bytes: [UInt8] = []
    defer { for index in bytes.indices { bytes[index] = 0 } }
    var byte: UInt8 = 0
    while read(descriptor, &byte, 1) == 1, byte != 0x0a, byte != 0x0d, bytes.count < 1024 {
      if byte == 0x03 {
        _ = "\n".withCString { write(descriptor, $0, 1) }
        throw ToolError("interrupted")
      }
      bytes.append(byte)
    }
    _ = "\n".withCString { write(descriptor, $0, 1) }
    return Secret(bytes)
  }

  /// The first line of a file, or of stdin for `-`.
  public static func readPasswordFile(_ path: String) throws -> Secret {
    let data =
      path == "-" ? FileHandle.standardInput.readData(ofLength: 4096) : FileManager.default.contents(atPath: path)
    guard let data, data.count <= 4096 else { throw ToolError("the password file \(path) cannot be read") }
    return Secret(Array(data.prefix { $0 != 0x0a && $0 != 0x0d }))
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
