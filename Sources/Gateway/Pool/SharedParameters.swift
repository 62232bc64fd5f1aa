import PostgresWire

/// The parameters that clients of a shared connection may set for themselves: those that the database reports and that are
/// commonly set (PgBouncer's list).
enum SharedParameters {
  private static let names = [
    "client_encoding", "DateStyle", "IntervalStyle", "TimeZone", "standard_conforming_strings", "application_name",
  ].map { Array($0.utf8) }

  /// A query that makes a session with the parameters `current` one with those of `wanted`; `nil`: it is one.
  static func query(from current: ParameterBook, to wanted: ParameterBook) -> String? {
    // Equal for the most part, and then it is seen at once.
    guard current.parameters != wanted.parameters else { return nil }
    var commands: [String] = []
    for name in names {
      guard let value = wanted.parameters.first(where: { $0.name == name })?.value,
        let present = current.parameters.first(where: { $0.name == name })?.value, value != present,
        let text = literal(value)
      else { continue }
      commands.append("SET \(String(decoding: name, as: UTF8.self)) TO \(text)")
    }
    return commands.isEmpty ? nil : commands.joined(separator: "; ")
  }

  /// As a literal that reads the same whatever `standard_conforming_strings` and the client's encoding are; `nil` for values
  /// that are not printable ASCII, which no encoding is safe for.
  private static func literal(_ value: [UInt8]) -> String? {
    guard value.allSatisfy({ (0x20...0x7e).contains($0) }) else { return nil }
    let text = String(decoding: value, as: UTF8.self)
    return "E'" + text.replacing("\\", with: "\\\\").replacing("'", with: "''") + "'"
  }
}
