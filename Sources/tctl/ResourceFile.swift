import AccessControl
import ConfigurationFile
import ControlClient
import Foundation
import Yams

/// Resources as text: YAML documents, or JSON.
enum ResourceFile {
  static let maximumSize = 1 << 20

  private struct Header: Decodable { let kind: String? }

  /// Reads a file, or stdin.
  static func read(_ path: String?) throws -> [any ToolResource] {
    let name = path ?? "stdin"
    let data =
      path.map { FileManager.default.contents(atPath: $0) }
      ?? FileHandle.standardInput.readData(ofLength: maximumSize + 1)
    guard let data, data.count <= maximumSize, let text = String(data: data, encoding: .utf8) else {
      throw ToolError("\(name) cannot be read as text of at most 1 MiB")
    }
    return try parse(text, name: name)
  }

  /// - Parameter name: of the file, for complaints: `NAME:LINE: what is wrong`.
  /// - Throws: `ToolError`, also if there is no resource.
  static func parse(_ text: String, name: String) throws -> [any ToolResource] {
    do {
      let resources = try documents(text).map { try resource($0, name) }
      guard !resources.isEmpty else { throw ToolError("\(name) holds no resource") }
      return resources
    } catch let error as YamlError {
      throw ToolError("\(name): \(PlainYAML.complaint(error))")
    } catch let problem as PlainYAML.Problem {
      throw ToolError("\(name):\(problem.line): \(problem.text)")
    }
  }

  private static func resource(_ document: Node, _ name: String) throws -> any ToolResource {
    func complaint(_ text: String, at path: [String]) -> ToolError {
      ToolError("\(name):\(line(of: path, in: document)): \(text)")
    }
    do {
      guard let kind = try YAMLDecoder().decode(Header.self, from: document).kind else {
        throw complaint("'kind' is missing: one of \(ResourceKinds.list)", at: [])
      }
      let type: any ToolResource.Type
      do { type = try ResourceKinds.named(kind) } catch { throw complaint("\(error)", at: ["kind"]) }
      func decode<Resource: ToolResource>(_ type: Resource.Type) throws -> any ToolResource {
        try YAMLDecoder().decode(Resource.self, from: document)
      }
      let resource = try decode(type)
      try resource.checkFurther()
      return resource
    } catch let error as RoleError {
      throw complaint(error.description, at: error.path)
    } catch let error as DecodingError {
      let (text, path) = explain(error)
      throw complaint(text, at: path)
    }
  }

  /// The documents of a file as nodes: read into values first, `1.20` would come back as `1.2` and `007` as `7`.
  private static func documents(_ text: String) throws -> [Node] {
    var documents = try Yams.compose_all(yaml: text)
    var nodes: [Node] = []
    while let node = documents.next() {
      try PlainYAML.check(node)
      switch node {
      // What `get` prints as JSON.
      case .sequence(let list): nodes += list
      // Nothing between two `---` lines.
      case .scalar(let scalar) where scalar.string.isEmpty: break
      default: nodes.append(node)
      }
    }
    // A sequence cannot throw while it is walked over: it ends, and says why here.
    if let error = documents.error { throw error }
    return nodes
  }

  /// The line of the deepest key of `path` that the document has.
  private static func line(of path: [String], in document: Node) -> Int {
    var (node, line) = (document, document.mark?.line ?? 1)
    for key in path {
      if let entry = node.mapping?.first(where: { $0.key.string == key }) {
        (node, line) = (entry.value, entry.key.mark?.line ?? line)
      } else if let list = node.sequence, let index = Int(key.replacing("Index ", with: "")),
        list.indices.contains(index)
      {
        (node, line) = (list[index], list[index].mark?.line ?? line)
      } else {
        break
      }
    }
    return line
  }

  private static func explain(_ error: DecodingError) -> (text: String, path: [String]) {
    switch error {
    case .keyNotFound(let key, let context):
      return ("'\(key.stringValue)' is missing", context.codingPath.map(\.stringValue))
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
      if let cause = context.underlyingError as? RoleError { return (cause.description, cause.path) }
      let path = context.codingPath.map(\.stringValue)
      return ("'\(path.joined(separator: "."))' has the wrong form: \(context.debugDescription)", path)
    @unknown default: return ("\(error)", [])
    }
  }

  /// Resources as `create` takes them back: documents of YAML, or one list in JSON.
  static func text(_ resources: [any ToolResource], _ format: OutputFormat) throws -> String {
    func formatted(_ resource: some ToolResource) throws -> String { try Terminal.formatted(resource, format) }
    let texts = try resources.map { try formatted($0).trimmingCharacters(in: .newlines) }
    switch format {
    case .json: return "[" + texts.joined(separator: ",\n") + "]"
    case .yaml, .text: return texts.joined(separator: "\n---\n")
    }
  }
}
