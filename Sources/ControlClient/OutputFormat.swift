import ArgumentParser
import Foundation
import Yams

/// `--format`.
public enum OutputFormat: String, ExpressibleByArgument, CaseIterable, Sendable { case text, json, yaml }

extension Terminal {
  /// JSON as YAML: one encoder decides the keys, whichever form is asked for.
  public static func yaml(_ json: Data) throws -> String {
    guard let node = try Yams.compose(yaml: String(decoding: json, as: UTF8.self)) else { return "" }
    return try Yams.serialize(node: plain(node))
  }

  /// JSON is YAML in flow style with quotes; block style reads better.
  private static func plain(_ node: Node) -> Node {
    switch node {
    case .mapping(let mapping):
      return Node(mapping.map { (plain($0.key), plain($0.value)) }, .implicit, .block)
    case .sequence(let sequence): return Node(sequence.map(plain), .implicit, .block)
    case .scalar(let scalar) where scalar.style == .doubleQuoted && needsNoQuotes(scalar.string):
      return Node(scalar.string)
    default: return node
    }
  }

  /// Whether a string is read back as the same string without its quotes: a plain word that YAML 1.1 takes for nothing
  /// else. Numbers and dates do not begin with a letter.
  private static func needsNoQuotes(_ text: String) -> Bool {
    func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) }
    guard let first = text.utf8.first, isLetter(first) else { return false }
    return text.utf8.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) || "_./@-".utf8.contains($0) }
      && !["y", "n", "yes", "no", "true", "false", "on", "off", "null"].contains(text.lowercased())
  }
}

/// Runs a tool's body; errors end in one line on stderr and exit code 1.
public func runTool(_ body: () async throws -> Void) async throws {
  do {
    try await body()
  } catch let code as ExitCode {
    throw code
  } catch {
    FileHandle.standardError.write(Data("ERROR: \(Terminal.safe("\(error)"))\n".utf8))
    throw ExitCode.failure
  }
}
