import Foundation
import FoundationXML

/// An element of a small XML document, by local names.
public final class XMLTree: @unchecked Sendable {
  // Invariant: nothing is changed once `read` has given the tree away.
  public let name: String
  /// Of the element itself, without white space at the ends.
  public fileprivate(set) var text = ""
  public fileprivate(set) var children: [XMLTree] = []

  fileprivate init(name: String) { self.name = name }

  /// The first child of that name.
  public subscript(_ name: String) -> XMLTree? { children.first { $0.name == name } }

  /// What a path of names leads to, as text; `nil` if it leads nowhere or to nothing.
  public func value(_ path: String...) -> String? {
    var element: XMLTree? = self
    for name in path { element = element?[name] }
    return element.flatMap { $0.text.isEmpty ? nil : $0.text }
  }

  /// Entries of the list at `name`.
  public func list(_ name: String) -> [XMLTree] { self[name]?.children ?? [] }

  /// The root of `body`.
  ///
  /// - Throws: `AWSError` with code `InvalidResponse`.
  static func read(_ body: [UInt8]) throws -> XMLTree {
    let text = try plainText(body)
    // AWS sends neither. A document type could define entities that grow without bound; on an instruction without
    // content Foundation's parser traps.
    guard !text.uppercased().contains("<!DOCTYPE"), !text.utf8.contains("<?".utf8) else {
      throw AWSError("InvalidResponse", "the XML answer has a document type or an instruction, which are refused")
    }
    let builder = Builder()
    let parser = XMLParser(data: Data(text.utf8))
    parser.shouldProcessNamespaces = true
    parser.shouldResolveExternalEntities = false
    parser.delegate = builder
    guard parser.parse(), let root = builder.top.children.first else {
      throw AWSError("InvalidResponse", "the answer is not well-formed XML")
    }
    return root
  }

  /// The document without its XML declaration, so that it is UTF-8 whatever that says: Foundation's parser traps on names
  /// that are not, and a document type could hide in another encoding.
  private static func plainText(_ body: [UInt8]) throws -> String {
    var document = body[...]
    if document.starts(with: [0xef, 0xbb, 0xbf]) { document = document.dropFirst(3) }
    if document.starts(with: "<?xml".utf8), let end = document.firstIndex(of: UInt8(ascii: ">")) {
      document = document[(end + 1)...]
    }
    guard let text = String(validating: document, as: UTF8.self), !document.contains(0) else {
      throw AWSError("InvalidResponse", "the answer is not XML in UTF-8")
    }
    return text
  }

  private final class Builder: NSObject, XMLParserDelegate {
    private static let maximumDepth = 32
    let top = XMLTree(name: "")
    private lazy var open = [top]

    func parser(
      _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
      attributes: [String: String]
    ) {
      guard open.count <= Self.maximumDepth else { return parser.abortParsing() }
      let element = XMLTree(name: name)
      open.last?.children.append(element)
      open.append(element)
    }

    func parser(_ parser: XMLParser, foundCharacters string: String) { open.last?.text += string }

    func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
      guard let element = open.popLast() else { return }
      element.text = element.text.trimmingCharacters(in: .whitespacesAndNewlines)
    }
  }
}
