import AWS
import Foundation

/// `--assumes-roles`: names and ARNs of roles, comma-separated. Both may be patterns with `*` and `?`, as IAM understands them.
public struct RoleNames: Sendable {
  private let texts: [String]

  public init(_ list: String?) {
    texts = (list ?? "").split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
  }

  public var isEmpty: Bool { texts.isEmpty }

  /// Whether an account is needed to make ARNs of them.
  public var haveBareNames: Bool { texts.contains { !$0.hasPrefix("arn:") } }

  /// - Parameter account: where bare names belong; `nil`: they cannot be told.
  /// - Throws: `BootstrapError` for what is neither a name nor an ARN of a role.
  public func arns(account: String?, partition: Partition) throws -> [String] {
    try texts.map { text in
      if text.hasPrefix("arn:") {
        let parts = text.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
        guard parts.count == 6, Partition(rawValue: String(parts[1])) != nil, parts[2] == "iam", parts[3].isEmpty,
          RoleARN.isAccount(String(parts[4])), parts[5].hasPrefix("role/"),
          parts[5].wholeMatch(of: /role\/[A-Za-z0-9_+=.@\-\/*?]{1,512}/) != nil
        else {
          throw BootstrapError(
            "'\(text)' is not the ARN of an IAM role", mend: "Write arn:aws:iam::ACCOUNT:role/NAME.")
        }
        return text
      }
      guard text.wholeMatch(of: /[A-Za-z0-9_+=.@\-*?]{1,64}/) != nil else {
        throw BootstrapError("'\(text)' is not the name of an IAM role", mend: "Letters, digits and +=.@_- only.")
      }
      guard let account else {
        throw BootstrapError("the account of role '\(text)' is not known", mend: "Write its ARN in full.")
      }
      return "arn:\(partition.rawValue):iam::\(account):role/\(text)"
    }
  }
}
