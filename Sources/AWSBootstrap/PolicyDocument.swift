import Foundation

/// An IAM policy of statements that allow, in a form that the same needs always give (IAM User Guide, "JSON policy elements").
public struct PolicyDocument: Equatable, Sendable {
  /// One statement; actions and resources are sorted.
  public struct Statement: Equatable, Sendable {
    public let id: String
    public let actions: [String]
    public let resources: [String]

    public init(_ id: String, _ actions: some Sequence<String>, on resources: some Sequence<String>) {
      self.id = id
      self.actions = Set(actions).sorted()
      self.resources = Set(resources).sorted()
    }
  }

  /// IAM's limit for managed policies, in characters without white space.
  static let maximumSize = 6144

  public var statements: [Statement]

  public init(statements: [Statement]) { self.statements = statements }

  /// What IAM counts.
  var size: Int { json.unicodeScalars.count { !$0.properties.isWhitespace } }

  /// Indented text, keys in the order in which IAM's own console writes them.
  public var json: String {
    let texts = statements.map { statement in
      """
          {
            "Sid": \(Self.quoted(statement.id)),
            "Effect": "Allow",
            "Action": \(Self.list(statement.actions)),
            "Resource": \(Self.list(statement.resources))
          }
      """
    }
    return """
      {
        "Version": "2012-10-17",
        "Statement": [
      \(texts.joined(separator: ",\n"))
        ]
      }
      """
  }

  private static func list(_ values: [String]) -> String {
    if values.count == 1, let only = values.first { return quoted(only) }
    return "[\n" + values.map { "        \(quoted($0))" }.joined(separator: ",\n") + "\n      ]"
  }

  static func quoted(_ text: String) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    // Encoding a string cannot fail.
    return (try? encoder.encode(text)).map { String(decoding: $0, as: UTF8.self) } ?? "\"\""
  }
}

extension PolicyDocument {
  /// Reads what IAM keeps.
  ///
  /// - Returns: `nil` for a document with anything that this type does not write, such as conditions.
  init?(json: String) {
    guard let top = try? JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any],
      Set(top.keys) == ["Version", "Statement"], top["Version"] as? String == "2012-10-17"
    else { return nil }
    var statements: [Statement] = []
    for case let entry in JSONValues.list(top["Statement"]) {
      guard let entry = entry as? [String: Any], Set(entry.keys) == ["Sid", "Effect", "Action", "Resource"],
        entry["Effect"] as? String == "Allow", let id = entry["Sid"] as? String,
        let actions = JSONValues.strings(entry["Action"]), let resources = JSONValues.strings(entry["Resource"])
      else { return nil }
      statements.append(Statement(id, actions, on: resources))
    }
    self.statements = statements
  }
}

/// Policies write a list of one without brackets.
enum JSONValues {
  static func list(_ value: Any?) -> [Any] { value as? [Any] ?? (value.map { [$0] } ?? []) }

  static func strings(_ value: Any?) -> [String]? {
    let values = list(value)
    let strings = values.compactMap { $0 as? String }
    return strings.count == values.count ? strings : nil
  }
}
