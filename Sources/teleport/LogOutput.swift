import ConfigurationFile
import Foundation
import Logging
import TextForms

/// Where the program's log goes, and in which form: one write(2) a line, so that lines of two threads do not mix.
struct LogOutput: Sendable {
  private let descriptor: Int32
  private let format: LogConfiguration.Format

  /// Opens the output. A file is made private and kept open until the program ends.
  init(_ configuration: LogConfiguration) throws {
    format = configuration.format
    switch configuration.output {
    case .stderr: descriptor = STDERR_FILENO
    case .stdout: descriptor = STDOUT_FILENO
    case .file(let path):
      descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0o600)
      guard descriptor >= 0 else {
        throw Failure("log.output: cannot open \(path): \(String(cString: strerror(errno)))")
      }
    }
  }

  /// Nobody can be told of a log that cannot be written: what does not fit the disk is lost.
  fileprivate func write(_ event: LogEvent, label: String, _ metadata: Logger.Metadata) {
    var line = format == .json ? Self.json(event, label, metadata) : Self.text(event, label, metadata)
    line += "\n"
    line.withUTF8 { _ = Foundation.write(descriptor, $0.baseAddress, $0.count) }
  }

  private static var time: String { Date.now.ISO8601Format(.init(includingFractionalSeconds: true)) }

  private static func text(_ event: LogEvent, _ label: String, _ metadata: Logger.Metadata) -> String {
    let fields = metadata.sorted { $0.key < $1.key }.map { " \($0.key)=\(quoted("\($0.value)"))" }.joined()
    return "\(time) \(event.level.rawValue.uppercased()) [\(label)] \(escaped("\(event.message)"))\(fields)"
  }

  private static func json(_ event: LogEvent, _ label: String, _ metadata: Logger.Metadata) -> String {
    var fields = metadata.mapValues { "\($0)" }
    fields["timestamp"] = time
    fields["level"] = event.level.rawValue
    fields["component"] = label
    fields["message"] = "\(event.message)"
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    guard let line = try? encoder.encode(fields) else { return "{}" }
    return String(decoding: line, as: UTF8.self)
  }

  private static func quoted(_ value: String) -> String {
    let isPlain = !value.isEmpty && value.unicodeScalars.allSatisfy { $0 != " " && $0 != "\"" && $0 != "=" }
    return isPlain ? escaped(value) : "\"" + escaped(value.replacing("\"", with: "\\\"")) + "\""
  }

  /// Values come from clients as well: none may end a line or move the cursor of who reads it.
  private static func escaped(_ text: String) -> String {
    guard !SafeText.isPlain(text), text.unicodeScalars.contains(where: \.isUnsafeToShow) else { return text }
    return text.unicodeScalars.map { $0.isUnsafeToShow ? "\\u{\(String($0.value, radix: 16))}" : String($0) }.joined()
  }
}

/// One logger's handler for a `LogOutput`.
struct LineLogHandler: LogHandler {
  let label: String
  let output: LogOutput
  var logLevel: Logger.Level
  var metadata: Logger.Metadata = [:]

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    output.write(event, label: label, metadata.merging(event.metadata ?? [:]) { _, new in new })
  }
}
