import Foundation
import Glibc
import Secrets

/// Asking the person at the terminal, and reading what scripts give instead.
public enum Prompt {
  private static let maximumLength = 1024

  /// Whether there is a terminal to ask on.
  public static var isPossible: Bool {
    let descriptor = open("/dev/tty", O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    close(descriptor)
    return true
  }

  /// Asks on the terminal itself, whatever stdin and stdout are. Ctrl-C ends the question with an error.
  ///
  /// - Parameters:
  ///   - isShown: whether what is typed appears.
  ///   - mend: the option for scripts, named where there is no terminal.
  public static func ask(_ prompt: String, isShown: Bool, mend: String) throws -> Secret {
    let descriptor = open("/dev/tty", O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else { throw ToolError("there is no terminal to ask on", hint: mend) }
    defer { close(descriptor) }
    var before = termios()
    guard tcgetattr(descriptor, &before) == 0 else { throw ToolError("the terminal cannot be read") }
    var raw = before
    // Keys come one by one, ctrl-C among them: no signal can leave the terminal in this state.
    raw.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
    tcsetattr(descriptor, TCSAFLUSH, &raw)
    defer { tcsetattr(descriptor, TCSAFLUSH, &before) }
    show(prompt, descriptor)
    defer { show("\n", descriptor) }
    return try readLine(descriptor, isShown: isShown)
  }

  private static func readLine(_ descriptor: Int32, isShown: Bool) throws -> Secret {
    var bytes: [UInt8] = []
    defer { for index in bytes.indices { bytes[index] = 0 } }
    var byte: UInt8 = 0
    while true {
      let count = read(descriptor, &byte, 1)
      if count < 0, errno == EINTR { continue }
      guard count == 1 else { throw ToolError("the terminal has gone") }
      switch byte {
      case 0x0a, 0x0d: return Secret(bytes)
      case 0x03, 0x04: throw ToolError("interrupted")
      case 0x08, 0x7f:
        // A character may be several bytes: those that continue one go with its first.
        while let last = bytes.popLast(), last & 0xc0 == 0x80 {}
        if isShown { show("\u{8} \u{8}", descriptor) }
      case 0x15: bytes.removeAll()
      case 0x20...:
        guard bytes.count < maximumLength else { continue }
        bytes.append(byte)
        if isShown { _ = write(descriptor, &byte, 1) }
      default: break
      }
    }
  }

  private static func show(_ text: String, _ descriptor: Int32) {
    _ = text.withCString { write(descriptor, $0, strlen($0)) }
  }

  /// The first line of a file, or for `-` the next line of stdin: several questions can be answered line by line.
  public static func readFile(_ path: String) throws -> Secret {
    if path == "-" { return try nextLineOfStandardInput() }
    guard let handle = FileHandle(forReadingAtPath: path),
      let data = try? handle.read(upToCount: maximumLength + 1), data.count <= maximumLength
    else { throw ToolError("the file \(path) cannot be read, or is longer than \(maximumLength) bytes") }
    return Secret(Array(data.prefix { $0 != 0x0a && $0 != 0x0d }))
  }

  private static func nextLineOfStandardInput() throws -> Secret {
    var bytes: [UInt8] = []
    defer { for index in bytes.indices { bytes[index] = 0 } }
    var byte: UInt8 = 0
    // One byte a call: what is behind the line end stays for the next question.
    while bytes.count <= maximumLength {
      let count = read(STDIN_FILENO, &byte, 1)
      if count < 0, errno == EINTR { continue }
      guard count == 1, byte != 0x0a else { break }
      if byte != 0x0d { bytes.append(byte) }
    }
    guard bytes.count <= maximumLength else { throw ToolError("a line on stdin is longer than \(maximumLength) bytes") }
    return Secret(bytes)
  }
}
