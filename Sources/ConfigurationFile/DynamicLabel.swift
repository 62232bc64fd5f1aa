import AccessControl

/// One entry of `dynamic_labels`: a label whose value is what a command prints.
public struct DynamicLabel: Sendable, Equatable {
  public let name: String
  /// The program and its arguments; no shell reads them.
  public let command: [String]
  /// How often it is run.
  public let period: GoDuration

  /// Of one database, so that a file with a thousand of them does not run a thousand programs a second.
  static let maximumCount = 10
  private static let longestName = 256

  init(_ section: YAMLSection) throws {
    try section.allow(["name", "command", "period"])
    guard let name = try section.string("name"), !name.isEmpty, name.utf8.count <= Self.longestName else {
      throw section.complaint("name", "is missing or longer than \(Self.longestName) bytes")
    }
    let command = try section.strings("command")
    guard let program = command.first, !program.isEmpty else {
      throw section.complaint("command", "is missing; write a list: the program and its arguments")
    }
    guard let period = GoDuration(try section.string("period") ?? "1m"), (1...86_400).contains(period.seconds) else {
      throw section.complaint("period", "must be a duration from 1s to 24h")
    }
    self.name = name
    self.command = command
    self.period = period
  }
}
