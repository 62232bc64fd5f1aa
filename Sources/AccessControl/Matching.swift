/// Meets the patterns of roles and selectors with what they are to match.
struct Matching: Sendable {
  /// Values for `{{internal.NAME}}` and `{{external.NAME}}`.
  let traits: [String: [String]]

  /// Whether `selector` means a resource with these labels; an empty one means none.
  func selects(
    _ selector: [String: Role.Values], _ labels: [String: String], ifUnreadable: Bool = false
  ) -> Bool {
    !selector.isEmpty && selector.allSatisfy { selects($0, $1, labels, ifUnreadable: ifUnreadable) }
  }

  /// Whether one key of a selector is met.
  func selects(
    _ key: String, _ values: Role.Values, _ labels: [String: String], ifUnreadable: Bool = false
  ) -> Bool {
    if key == "*" { return values.all == ["*"] }
    guard let actual = labels[key] else { return false }
    return first(of: values.all, matching: [actual], ifUnreadable: ifUnreadable) != nil
  }

  /// The first of `patterns` that means one of `subjects`.
  ///
  /// Roles are validated before they are stored. Should an entry be no pattern after all, a deny takes it to match
  /// (`ifUnreadable`), an allow not.
  func first(of patterns: [String], matching subjects: [String], ifUnreadable: Bool = false) -> String? {
    patterns.first { text in
      guard let pattern = try? Pattern(text) else { return ifUnreadable }
      return subjects.contains { pattern.matches($0, traits: traits) }
    }
  }
}
