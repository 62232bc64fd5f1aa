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
    default: return node
    }
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
