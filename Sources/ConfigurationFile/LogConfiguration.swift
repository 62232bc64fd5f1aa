/// `teleport.log`: how much is logged, in which form, and where to.
public struct LogConfiguration: Sendable, Equatable {
  /// Where lines go.
  public enum Output: Sendable, Equatable {
    case stderr
    case stdout
    /// An absolute path; lines are appended.
    case file(String)
  }

  /// The form of a line.
  public enum Format: String, Sendable { case text, json }

  /// A level as swift-log names it, from `trace` to `critical`.
  public var severity = "info"
  /// Where lines go.
  public var output = Output.stderr
  /// Their form.
  public var format = Format.text

  /// Standard error, text, severity `info`.
  public init() {}

  private static let severities = [
    "trace": "trace", "debug": "debug", "info": "info", "notice": "notice", "warn": "warning", "warning": "warning",
    "err": "error", "error": "error", "critical": "critical",
  ]

  init(_ section: YAMLSection) throws {
    try section.allow(["output", "severity", "format"])
    if let text = try section.string("severity") {
      guard let severity = Self.severities[text.lowercased()] else {
        throw section.complaint("severity", "must be TRACE, DEBUG, INFO, NOTICE, WARN, ERROR or CRITICAL")
      }
      self.severity = severity
    }
    if let text = try section.string("output") {
      switch text {
      case "stderr", "error", "2": output = .stderr
      case "stdout", "out", "1": output = .stdout
      case let path where path.hasPrefix("/"): output = .file(path)
      default: throw section.complaint("output", "must be stderr, stdout or the absolute path of a file")
      }
    }
    if let text = try Self.format(section) {
      guard let format = Format(rawValue: text.lowercased()) else {
        throw section.complaint("format", "must be text or json")
      }
      self.format = format
    }
  }

  /// `format: json`, or as Teleport writes it, `format: {output: json}`.
  private static func format(_ section: YAMLSection) throws -> String? {
    guard section["format"]?.scalar == nil else { return try section.string("format") }
    guard let format = try section.section("format") else { return nil }
    try format.allow(["output", "extra_fields"])
    try format.refuse([UnsupportedKey(name: "extra_fields", reason: "all fields there are are written; remove it")])
    return try format.string("output")
  }
}
