/// One entry of a role's list: a literal, a glob with `*`, a `^regex$` or a template over the user's traits.
struct Pattern {
  private enum Kind {
    /// A literal if there is no `*` in it.
    case glob(String)
    case expression(RegularExpression)
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
        // The anchors are meant for the whole, also where the pattern is an alternation.
        kind = .expression(try RegularExpression(text.dropFirst().dropLast()))
      } catch let error as RegularExpressionError {
        throw RoleError("'\(text)' is not a regular expression: it \(error)")
      }
    } else {
      kind = .glob(text)
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
    case .glob(let text): return Self.glob(text, subject)
    case .expression(let expression): return expression.matchesWhole(subject)
    // A trait is data: `*` in it stands for all, as in a role, but it is never compiled as an expression.
    case .trait(let name): return (traits[name] ?? []).contains { Self.glob($0, subject) }
    }
  }

  /// The trait that a template stands for; `nil` for what is none.
  static func traitName(_ text: String) -> String? {
    guard text.hasPrefix("{{"), text.hasSuffix("}}") else { return nil }
    let words = text.dropFirst(2).dropLast(2).split(separator: " ")
    guard words.count == 1, let inner = words.first else { return nil }
    for scope in ["internal.", "external."] where inner.hasPrefix(scope) {
      let name = String(inner.dropFirst(scope.count))
      return Role.isValidName(name) ? name : nil
    }
    return nil
  }

  /// Whether `pattern`, in which `*` stands for any bytes, is `subject`.
  ///
  /// Bytes are compared, as databases do: letters that only look the same are different names. No worse than the product
  /// of the lengths, since only the last `*` is ever tried again.
  private static func glob(_ pattern: String, _ subject: String) -> Bool {
    let (pattern, subject) = (Array(pattern.utf8), Array(subject.utf8))
    var (p, s) = (0, 0)
    var retry: (p: Int, s: Int)?
    while s < subject.count {
      if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
        p += 1
        retry = (p, s)
      } else if p < pattern.count, pattern[p] == subject[s] {
        (p, s) = (p + 1, s + 1)
      } else if let last = retry {
        (p, s) = (last.p, last.s + 1)
        retry = (p, s)
      } else {
        return false
      }
    }
    return pattern[p...].allSatisfy { $0 == UInt8(ascii: "*") }
  }
}
