/// What a filter looks at: one database of a listing.
public struct FilteredResource: Sendable {
  public var name: String
  public var description: String
  public var `protocol`: String
  public var uri: String
  public var labels: [String: String]

  public init(name: String, description: String, protocol: String, uri: String, labels: [String: String]) {
    self.name = name
    self.description = description
    self.protocol = `protocol`
    self.uri = uri
    self.labels = labels
  }

  /// Whether each of `words` occurs in the name, the description or a label, whatever its case.
  public func contains(_ words: [String]) -> Bool {
    let places = [name, description] + labels.map { "\($0.key)=\($0.value)" }
    return words.allSatisfy { word in places.contains { $0.lowercased().contains(word.lowercased()) } }
  }
}

/// A filter that cannot be read: what is wrong, and where.
public struct FilterError: Error, Sendable, Equatable, CustomStringConvertible {
  public let description: String
  init(_ description: String) { self.description = description }
}

/// `env=dev,team=a`: the labels that all must be there; `*` stands for any value.
public struct LabelSelector: Sendable {
  private let wanted: [(key: String, value: String)]

  private static let maximumLabels = 64

  public init(_ text: String) throws(FilterError) {
    var wanted: [(key: String, value: String)] = []
    for part in text.split(separator: ",") {
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(Self.trimmed)
      guard sides.count == 2, !sides[0].isEmpty else {
        throw FilterError("'\(part)' is not a label; write KEY=VALUE, several separated by commas")
      }
      wanted.append((sides[0], sides[1]))
    }
    guard !wanted.isEmpty, wanted.count <= Self.maximumLabels else {
      throw FilterError("a label filter has 1 to \(Self.maximumLabels) labels, as in env=dev,team=a")
    }
    self.wanted = wanted
  }

  public func matches(_ labels: [String: String]) -> Bool {
    wanted.allSatisfy { want in labels[want.key].map { want.value == "*" || $0 == want.value } ?? false }
  }

  private static func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first?.isWhitespace == true { text.removeFirst() }
    while text.last?.isWhitespace == true { text.removeLast() }
    return String(text)
  }
}

/// The words of `--search`: separated by commas or spaces, phrases in double quotes.
public func searchWords(_ text: String) -> [String] {
  var words: [String] = []
  for (index, part) in text.split(separator: "\"", omittingEmptySubsequences: false).enumerated() {
    if index % 2 == 1 {
      words.append(String(part))
    } else {
      words += part.split { $0 == "," || $0.isWhitespace }.map(String.init)
    }
  }
  return words.filter { !$0.isEmpty }
}
