import Yams

/// The part of YAML that files of people need: values as they stand there. What is more is the stuff of attacks.
public enum PlainYAML {
  /// Why a file is more than that, and where.
  public struct Problem: Error, Sendable {
    public let line: Int
    public let text: String
  }

  private static let maximumDepth = 64
  /// Bytes of a parser's complaint that are shown: it quotes the whole line.
  private static let maximumComplaint = 300
  /// What values without an explicit tag are (yaml.org/type), for Yams resolves those when they are asked for.
  private static let plainTags = Set(
    ["str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value"].map {
      "tag:yaml.org,2002:\($0)"
    })

  /// Refuses anchors (and so aliases), tags and depth without end.
  ///
  /// - Throws: `Problem`. Nodes hold their anchors weakly: whatever parsed `node` has to be alive still.
  public static func check(_ node: Node) throws { try check(node, depth: 0) }

  private static func check(_ node: Node, depth: Int) throws {
    func problem(_ text: String) -> Problem { Problem(line: node.mark?.line ?? 1, text: text) }
    guard depth < maximumDepth else { throw problem("nested deeper than \(maximumDepth) levels") }
    guard node.anchor == nil else { throw problem("anchors and aliases are not accepted") }
    guard plainTags.contains(node.tag.description) else { throw problem("tags such as !x are not accepted") }
    switch node {
    case .mapping(let mapping):
      for (key, value) in mapping {
        try check(key, depth: depth + 1)
        try check(value, depth: depth + 1)
      }
    case .sequence(let sequence): for value in sequence { try check(value, depth: depth + 1) }
    default: break
    }
  }

  /// What the parser complains about, in one line of bounded length.
  public static func complaint(_ error: YamlError) -> String {
    let line = "\(error)".split(whereSeparator: \.isNewline).map { $0.trimmingPrefix { $0.isWhitespace } }
      .filter { !$0.isEmpty }.joined(separator: " ")
    return line.utf8.count <= maximumComplaint ? line : line.prefix(maximumComplaint) + "…"
  }
}
