import AccessControl
import Foundation
import TextForms
import Yams

/// A configuration that cannot be used: `FILE:LINE: what (mend)`.
public struct ConfigurationError: Error, Sendable, CustomStringConvertible {
  /// The complaint, in one line.
  public let description: String
  /// A complaint with that text, which may quote keys and values of the file: those may hold anything.
  public init(_ description: String) { self.description = SafeText.line(description) }
}

/// One mapping of the file with its place, so that every complaint names a line.
struct YAMLSection {
  private static let maximumSize = 1 << 20

  let file: String
  private let node: Node
  private let mapping: Node.Mapping

  /// Reads a whole file's text.
  init(text: String, file: String) throws {
    guard text.utf8.count <= Self.maximumSize else { throw ConfigurationError("\(file): larger than 1 MiB") }
    let root: Node
    do {
      let parser = try Parser(yaml: text)
      root = try parser.singleRoot() ?? Node("")
      // Nodes hold their anchors weakly; the parser keeps them until the check is over.
      try withExtendedLifetime(parser) { try PlainYAML.check(root) }
    } catch let error as YamlError {
      throw ConfigurationError("\(file): \(PlainYAML.complaint(error))")
    } catch let problem as PlainYAML.Problem {
      throw ConfigurationError("\(file):\(problem.line): \(problem.text)")
    }
    try self.init(root, file: file, what: "the file")
  }

  private init(_ node: Node, file: String, what: String) throws {
    guard let mapping = node.mapping else {
      throw ConfigurationError("\(file):\(node.mark?.line ?? 1): \(what) must be a mapping of keys to values")
    }
    self.file = file
    self.node = node
    self.mapping = mapping
  }

  /// Refuses keys that are not among `known`.
  func allow(_ known: [String]) throws {
    for (key, _) in mapping {
      let name = key.string ?? ""
      guard known.contains(name) else {
        let nearest = Spelling.nearest(to: name, among: known).map { " (did you mean '\($0)'?)" } ?? ""
        throw ConfigurationError("\(file):\(key.mark?.line ?? 1): unknown key '\(name)'\(nearest)")
      }
    }
  }

  var keys: [String] { mapping.keys.compactMap(\.string) }

  /// What stands at `key`; `nil` for a key that is missing or has nothing behind it.
  subscript(_ key: String) -> Node? { mapping[key].flatMap { isNull($0) ? nil : $0 } }

  func section(_ key: String) throws -> YAMLSection? {
    guard let value = self[key] else { return nil }
    return try YAMLSection(value, file: file, what: "'\(key)'")
  }

  func sections(_ key: String) throws -> [YAMLSection] {
    guard let value = self[key] else { return [] }
    guard let list = value.sequence else { throw complaint(key, "must be a list") }
    return try list.map { try YAMLSection($0, file: file, what: "an entry of '\(key)'") }
  }

  /// The text of a scalar as written: an account id keeps its leading zeros.
  func string(_ key: String) throws -> String? {
    guard let value = self[key] else { return nil }
    guard let scalar = value.scalar else { throw complaint(key, "must be a single value") }
    return scalar.string
  }

  /// As `string`, but a text that is empty in quotes counts as one.
  func text(_ key: String) throws -> String? {
    if let scalar = mapping[key]?.scalar, scalar.string.isEmpty, scalar.style != .plain { return "" }
    return try string(key)
  }

  func strings(_ key: String) throws -> [String] {
    guard let value = self[key] else { return [] }
    guard let list = value.sequence else { return try string(key).map { [$0] } ?? [] }
    return try list.map { entry in
      guard let text = entry.scalar?.string else { throw complaint(key, "must be a list of single values") }
      return text
    }
  }

  /// YAML 1.1's booleans, quoted or not.
  func bool(_ key: String) throws -> Bool? {
    guard let text = try string(key) else { return nil }
    guard let value = YAMLBoolean.value(of: text) else { throw complaint(key, "must be yes or no") }
    return value
  }

  func pairs(_ key: String) throws -> [String: String] {
    guard let section = try section(key) else { return [:] }
    var pairs: [String: String] = [:]
    for name in section.keys { pairs[name] = try section.string(name) }
    return pairs
  }

  func complaint(_ key: String, _ what: String) -> ConfigurationError {
    let line = mapping.first { $0.key.string == key }?.key.mark?.line ?? node.mark?.line ?? 1
    return ConfigurationError("\(file):\(line): '\(key)' \(what)")
  }

  private func isNull(_ node: Node) -> Bool {
    guard let scalar = node.scalar else { return false }
    return scalar.string.isEmpty || scalar.style == .plain && ["~", "null"].contains(scalar.string)
  }
}
