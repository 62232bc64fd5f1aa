import AWS
import ControlAPI

extension AWSJoinRule {
  private static let maximumARN = 2048

  /// - Throws: `AuthError` for a rule that lets in more than one account or nobody.
  func check() throws {
    guard account != nil || arn != nil else {
      throw AuthError.invalid("a rule of allow needs aws_account or aws_arn")
    }
    if let account, !Self.isAccount(account) {
      throw AuthError.invalid("aws_account '\(account.prefix(32))' is not an account ID of 12 digits")
    }
    guard let arn else { return }
    let fields = arn.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
    guard arn.utf8.count <= Self.maximumARN, fields.count == 6, fields[0] == "arn" else {
      throw AuthError.invalid(
        "aws_arn is not an ARN", hint: "write for example arn:aws:sts::111122223333:assumed-role/ROLE/*")
    }
    // With a wildcard there, whoever makes a role of that name in an account of his own could join.
    guard account != nil || Self.isAccount(String(fields[4])) else {
      throw AuthError.invalid(
        "aws_arn leaves the account open", hint: "write the 12 digits in it, or aws_account beside it")
    }
  }

  func fits(_ identity: CallerIdentity) -> Bool {
    (account.map { $0 == identity.account } ?? true)
      && (arn.map { Self.glob(Array($0.utf8), Array(identity.arn.utf8)) } ?? true)
  }

  private static func isAccount(_ text: String) -> Bool {
    text.utf8.count == 12 && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
  }

  /// The last `*` may take one byte more whenever what follows does not fit: quadratic at worst, in at most 2 KiB.
  private static func glob(_ pattern: [UInt8], _ text: [UInt8]) -> Bool {
    guard text.count <= maximumARN else { return false }
    var (p, t) = (0, 0)
    var retry: (pattern: Int, text: Int)?
    while t < text.count {
      if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
        p += 1
        retry = (p, t)
      } else if p < pattern.count, pattern[p] == UInt8(ascii: "?") || pattern[p] == text[t] {
        (p, t) = (p + 1, t + 1)
      } else if let last = retry {
        retry = (last.pattern, last.text + 1)
        (p, t) = (last.pattern, last.text + 1)
      } else {
        return false
      }
    }
    return pattern[p...].allSatisfy { $0 == UInt8(ascii: "*") }
  }
}
