/// A condition on a resource, such as `labels["env"] == "dev" && !hasPrefix(name, "test-")`.
///
/// Strings compare by `==` and `!=`; conditions combine by `&&`, `||`, `!` and parentheses. Functions: `equals(a, b)`,
/// `hasPrefix(a, b)`, `exists(labels["key"])`, `search("word", ...)`. Length and nesting are bounded.
public struct ResourcePredicate: Sendable {
  indirect enum Condition: Sendable {
    case equal(Text, Text)
    case hasPrefix(Text, Text)
    case exists(String)
    case search([String])
    case not(Condition)
    case all([Condition])
    case any([Condition])
  }

  enum Text: Sendable {
    case literal(String)
    case field(Field)
    case label(String)
  }

  enum Field: String, Sendable, CaseIterable { case name, description, `protocol`, uri }

  public static let maximumLength = 4096
  public static let maximumDepth = 64

  private let condition: Condition

  public init(_ text: String) throws(FilterError) {
    guard text.utf8.count <= Self.maximumLength else {
      throw FilterError("the query is longer than \(Self.maximumLength) bytes")
    }
    var parser = PredicateParser(tokens: try PredicateToken.all(in: text))
    condition = try parser.parse()
  }

  public func matches(_ resource: FilteredResource) -> Bool { Self.holds(condition, resource) }

  private static func holds(_ condition: Condition, _ resource: FilteredResource) -> Bool {
    switch condition {
    case .equal(let a, let b): value(a, resource) == value(b, resource)
    case .hasPrefix(let a, let b): value(a, resource).hasPrefix(value(b, resource))
    case .exists(let key): resource.labels[key] != nil
    case .search(let words): resource.contains(words)
    case .not(let inner): !holds(inner, resource)
    case .all(let parts): parts.allSatisfy { holds($0, resource) }
    case .any(let parts): parts.contains { holds($0, resource) }
    }
  }

  /// A label that is not there reads as empty text.
  private static func value(_ text: Text, _ resource: FilteredResource) -> String {
    switch text {
    case .literal(let text): text
    case .label(let key): resource.labels[key] ?? ""
    case .field(.name): resource.name
    case .field(.description): resource.description
    case .field(.protocol): resource.protocol
    case .field(.uri): resource.uri
    }
  }
}
