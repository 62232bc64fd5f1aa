import Foundation

/// One entry of a role's list: a literal, a glob with `*`, a `^regex$` or a template over the user's traits.
struct Pattern {
  private enum Kind {
    case literal(String)
    case glob([Substring])
    case expression(NSRegularExpression)
    case trait(String)
  }

  private static let maximumLength = 1024
  private let kind: Kind

  init(_ text: String) throws {
    guard text.utf8.count <= Self.maximumLength else {
      throw RoleError("a pattern is longer than \(Self.maximumLength) bytes")
    }
    if text.contains("{{") {
      guard let name = Self.traitName(text) else {
        throw RoleError("'\(text)' is not a template; write {{internal.NAME}} or {{external.NAME}}")
      }
      kind = .trait(name)
    } else if text.hasPrefix("^"), text.hasSuffix("$") {
      do {
        // Valid by itself first, so that no stray parenthesis can break out of the group below.
        _ = try NSRegularExpression(pattern: String(text.dropFirst().dropLast()))
        // The anchors are meant for the whole, also where the pattern is an alternation.
        kind = .expression(try NSRegularExpression(pattern: "\\A(?:\(text.dropFirst().dropLast()))\\z"))
      } catch {
        throw RoleError("'\(text)' is not a regular expression")
      }
    } else if text.contains("*") {
      kind = .glob(text.split(separator: "*", omittingEmptySubsequences: false))
    } else {
      kind = .literal(text)
    }
  }

  /// The literal or trait values this entry lists, for showing to a user; patterns show as themselves.
  static func listed(_ text: String, traits: [String: [String]]) -> [String] {
    traitName(text).map { traits[$0] ?? [] } ?? [text]
  }

  /// Whether `subject` is meant. A template with no trait behind it means nothing.
  func matches(_ subject: String, traits: [String: [String]]) -> Bool {
    guard subject.utf8.count <= 4096 else { return false }
    switch kind {
    case .literal(let text): return text == subject
    case .glob(let parts): return Self.glob(parts, subject)
    case .expression(let expression):
      return expression.firstMatch(in: subject, range: NSRange(subject.startIndex..., in: subject)) != nil
    case .trait(let name):
      // A trait is data: `*` in it stands for all, as in a role, but it is never compiled as an expression.
      return (traits[name] ?? []).contains { value in
        value == subject
          || value.contains("*") && Self.glob(value.split(separator: "*", omittingEmptySubsequences: false), subject)
      }
    }
  }

  private static func traitName(_ text: String) -> String? {
    guard text.hasPrefix("{{"), text.hasSuffix("}}") else { return nil }
    let inner = text.dropFirst(2).dropLast(2).trimmingCharacters(in: .whitespaces)
    for scope in ["internal.", "external."] where inner.hasPrefix(scope) {
      let name = String(inner.dropFirst(scope.count))
      return Role.isValidName(name) ? name : nil
    }
    return nil
  }

  /// Linear: each part is looked for once, leftmost first.
  private static func glob(_ parts: [Substring], _ subject: String) -> Bool {
    guard let first = parts.first, let last = parts.last, parts.count > 1 else { return false }
    guard subject.hasPrefix(first), subject.hasSuffix(last), subject.utf8.count >= first.utf8.count + last.utf8.count
    else { return false }
    var rest = subject.dropFirst(first.count).dropLast(last.count)
    for part in parts.dropFirst().dropLast() where !part.isEmpty {
      guard let range = rest.range(of: part) else { return false }
      rest = rest[range.upperBound...]
    }
    return true
  }
}
