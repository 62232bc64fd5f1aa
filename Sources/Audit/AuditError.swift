import Glibc

/// The audit log cannot be opened, read or written: what is wrong and the mend.
public struct AuditError: Error, Sendable, CustomStringConvertible {
  public let description: String
  init(_ description: String) { self.description = description }

  static func system(_ what: String, _ number: Int32) -> AuditError {
    AuditError("\(what): \(String(cString: strerror(number)))")
  }
}
