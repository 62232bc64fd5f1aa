/// Chooses resources by their labels, by the rules of a role's `db_labels`.
public struct LabelSelector: Sendable, Equatable {
  private let values: [String: Role.Values]

  /// - Throws: `RoleError` for a value that is no pattern, and for a key `*` with another value than `*`.
  public init(_ values: [String: [String]]) throws {
    self.values = values.mapValues { Role.Values($0) }
    try Role.validate(labels: self.values)
  }

  /// Whether it means a resource with these labels; an empty selector means none.
  public func matches(_ labels: [String: String]) -> Bool { Matching(traits: [:]).selects(values, labels) }
}
