import Foundation
import Yams

@testable import AccessControl

extension FuzzTarget {
  /// A role as JSON: whoever is taken is written and read as the same, and decides as it explains.
  static let role = FuzzTarget(name: "role", maximumLength: 1024) { bytes in
    guard let role = try? JSONDecoder().decode(Role.self, from: Data(bytes)) else { return }
    try compareDecisions(role)
  }

  /// A role as YAML, as `tctl` reads it.
  static let roleYAML = FuzzTarget(name: "role-yaml", maximumLength: 512) { bytes in
    guard let text = FuzzInput(bytes).restText, let role = try? YAMLDecoder().decode(Role.self, from: text) else {
      return
    }
    try compareDecisions(role)
  }

  /// A regular expression and, behind a NUL, what it is to match.
  static let expression = FuzzTarget(name: "expression", maximumLength: 128) { bytes in
    var input = FuzzInput(bytes)
    guard let pattern = input.text(), let subject = input.restText, let expression = try? RegularExpression(pattern)
    else {
      return
    }
    var steps = 0
    let matches = expression.matchesWhole(subject, steps: &steps)
    let scalars = subject.unicodeScalars.count
    try require(
      steps <= 2 * RegularExpression.maximumSize * (scalars + 1), "\(steps) steps for \(scalars) characters")
    var parser = RegularExpressionParser(pattern)
    guard let model = ExpressionModel(try parser.parse(), subject) else { return }
    try require(matches == model.matches, "'\(pattern)' and '\(subject)': \(matches)")
  }

  /// An entry of a role's list, what it is to match and a trait's value, with NULs between them.
  static let pattern = FuzzTarget(name: "pattern", maximumLength: 128) { bytes in
    var input = FuzzInput(bytes)
    guard let text = input.text(), let subject = input.text(), let value = input.restText,
      let pattern = try? Pattern(text)
    else { return }
    let matches = pattern.matches(subject, traits: ["trait": [value]])
    if let name = Pattern.traitName(text) {
      try require(matches == (name == "trait" && isGlob(value.utf8[...], subject.utf8[...])), "'\(text)': \(matches)")
    } else if !(text.hasPrefix("^") && text.hasSuffix("$")) {
      try require(matches == isGlob(text.utf8[...], subject.utf8[...]), "'\(text)' and '\(subject)': \(matches)")
    }
  }

  /// A lock as JSON.
  static let lock = FuzzTarget(name: "lock", maximumLength: 512) { bytes in
    guard let lock = try? JSONDecoder().decode(Lock.self, from: Data(bytes)) else { return }
    let again = try JSONDecoder().decode(Lock.self, from: try JSONEncoder().encode(lock))
    try require(again == lock, "a lock is written as another")
    let target = lock.spec.target
    let hits = lock.hits(
      user: target.user ?? "u", roles: [target.role ?? "r"], database: target.db, session: target.session,
      server: target.serverID)
    try require(hits != lock.isOver(), "a lock does not hit its own target")
  }
}

private func compareDecisions(_ role: Role) throws {
  let again = try JSONDecoder().decode(Role.self, from: try JSONEncoder().encode(role))
  try require(again == role, "a role is written as another")
  let checker = AccessChecker(roles: [role], traits: ["db_users": ["alice"], "db_names": ["*"]])
  for (user, name) in [("alice", "dev"), ("arn:aws:iam::123456789012:role/alice", "prod")] {
    let access = DatabaseAccess(
      labels: ["env": "dev", "team": "a"], databaseName: name, databaseUsers: .init([user]), wantsReplication: true)
    let decision = checker.decide(access)
    let explanation = checker.explain(access)
    try require((decision == .allowed) == explanation.isAllowed, "it is decided and explained differently")
    let isDenied = explanation.roles.contains { !$0.denies.isEmpty }
    let isAllowing = explanation.roles.contains { $0.isAllowing }
    try require(explanation.isAllowed == (isAllowing && !isDenied), "the findings do not make the decision")
    if explanation.isAllowed { try require(checker.canSee(labels: access.labels), "allowed, but not to be seen") }
  }
}

/// Whether `pattern` with its `*` is `subject`, the obvious way.
private func isGlob(_ pattern: Substring.UTF8View, _ subject: Substring.UTF8View) -> Bool {
  let parts = Array(pattern).split(separator: UInt8(ascii: "*"), omittingEmptySubsequences: false)
  // Row by row: at which places of the subject what was read of the pattern may end.
  let text = Array(subject)
  var ends: Set<Int> = [0]
  for (index, part) in parts.enumerated() {
    if index > 0, let least = ends.min() { ends = Set(least...text.count) }
    ends = Set(ends.filter { text[$0...].starts(with: part) }.map { $0 + part.count })
  }
  return ends.contains(text.count)
}
