/// A role that cannot be accepted; says which part and what to write instead.
public struct RoleError: Error, Sendable, CustomStringConvertible {
  /// What is wrong and what to write, in one line.
  public let description: String
  /// Keys that lead to the place within the resource; empty where it is the whole.
  public let path: [String]

  package init(_ description: String, at path: [String] = []) {
    self.description = description
    self.path = path
  }
}

extension Role {
  /// Names of roles and other resources: safe in file names, URLs and terminals.
  public static func isValidName(_ name: String) -> Bool {
    guard let first = name.utf8.first, name.utf8.count <= 255, !name.contains("..") else { return false }
    func isAlphanumeric(_ byte: UInt8) -> Bool {
      (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
    }
    return isAlphanumeric(first) && name.utf8.allSatisfy { isAlphanumeric($0) || "._@+-".utf8.contains($0) }
  }

  /// Checks everything that decoding alone does not.
  public func validate() throws {
    guard kind == "role" else { throw RoleError("kind is '\(kind)', expected 'role'", at: ["kind"]) }
    guard ["v3", "v4", "v5", "v6", "v7"].contains(version) else {
      throw RoleError("role version '\(version)' is not known; use v3, v4, v5, v6 or v7", at: ["version"])
    }
    guard Self.isValidName(metadata.name) else {
      throw RoleError(
        "role name '\(metadata.name)' is not valid; use letters, digits and . _ @ + - (no '..')",
        at: ["metadata", "name"])
    }
    for (side, name) in [(spec.allow, "allow"), (spec.deny, "deny")] {
      for (patterns, key) in [(side.databaseNames, "db_names"), (side.databaseUsers, "db_users")] {
        for pattern in patterns { try RoleError.located(["spec", name, key]) { _ = try Pattern(pattern) } }
      }
      try RoleError.located(["spec", name, "db_labels"]) { try Self.validate(labels: side.databaseLabels ?? [:]) }
    }
  }

  static func validate(labels: [String: Values]) throws {
    for pattern in labels.keys + labels.values.flatMap(\.all) { _ = try Pattern(pattern) }
    if let values = labels["*"], values.all != ["*"] {
      throw RoleError("db_labels key '*' may only have the value '*'")
    }
  }
}

extension RoleError {
  /// Runs `body`; what it complains about is at `path`.
  static func located(_ path: [String], _ body: () throws -> Void) throws {
    do { try body() } catch let error as RoleError { throw RoleError(error.description, at: path + error.path) }
  }
}

/// Finds what was probably meant.
public enum Spelling {
  /// The known word that needs the fewest edits to become `word`.
  public static func nearest(to word: String, among known: [String]) -> String? {
    known.min { distance($0, word) < distance($1, word) }
  }

  /// Levenshtein distance, for short words.
  private static func distance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a.utf8.prefix(64)), Array(b.utf8.prefix(64)))
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, y) in b.enumerated() {
        let substituted = diagonal + (x == y ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(substituted, row[j] + 1, diagonal + 1)
      }
    }
    return row[b.count]
  }
}
