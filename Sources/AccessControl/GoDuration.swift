/// A duration as Go prints it (`30h0m0s`, `90m`, `1h30m`), the form roles use; `never` is 0.
public struct GoDuration: Codable, Sendable, Equatable {
  /// Whole seconds, 0 meaning no limit where a limit is asked for.
  public let seconds: Int

  /// A duration of whole seconds.
  public init(seconds: Int) { self.seconds = seconds }

  /// Reads `text`; `nil` if it is not a duration or longer than 100 years.
  public init?(_ text: String) {
    if text == "never" || text == "0" {
      seconds = 0
      return
    }
    var total = 0.0
    var rest = Substring(text)
    guard !rest.isEmpty else { return nil }
    while !rest.isEmpty {
      let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
      rest = rest.dropFirst(digits.count)
      let unit = rest.prefix { $0.isASCII && $0.isLetter }
      rest = rest.dropFirst(unit.count)
      guard let number = Double(digits), let factor = Self.units[String(unit)] else { return nil }
      total += number * factor
    }
    guard total.isFinite, total < 100 * 366 * 86_400 else { return nil }
    seconds = Int(total)
  }

  private static let units: [String: Double] = ["d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001]

  public init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let duration = GoDuration(text) else {
      throw RoleError(
        "'\(text)' is not a duration; write for example 8h or 1h30m0s", at: decoder.codingPath.map(\.stringValue))
    }
    self = duration
  }

  public func encode(to encoder: any Encoder) throws {
    var value = encoder.singleValueContainer()
    try value.encode(description)
  }
}

extension GoDuration: CustomStringConvertible {
  public var description: String { "\(seconds / 3600)h\(seconds / 60 % 60)m\(seconds % 60)s" }
}
