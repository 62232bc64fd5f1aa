/// The ARN of an IAM role (IAM User Guide, "IAM identifiers").
public struct RoleARN: Hashable, Sendable, CustomStringConvertible {
  /// `aws`, `aws-cn` or `aws-us-gov`.
  public let partition: String
  /// Twelve digits.
  public let account: String
  /// Begins and ends with a slash; `/` for none.
  public let path: String
  public let name: String

  public var description: String { "arn:\(partition):iam::\(account):role\(path)\(name)" }

  /// The database user Redshift makes of the role; the path is not part of it.
  public var databaseUser: String { "IAMR:\(name)" }

  public init(partition: String, account: String, path: String = "/", name: String) throws {
    guard Partition(rawValue: partition) != nil else {
      throw AWSError("InvalidParameter", "'\(partition)' is not an AWS partition")
    }
    guard Self.isAccount(account) else {
      throw AWSError("InvalidParameter", "'\(account)' is not an AWS account id", mend: "It has 12 digits.")
    }
    guard Self.isName(name), path.hasPrefix("/"), path.hasSuffix("/"), path.utf8.count <= 512 else {
      throw AWSError("InvalidParameter", "'\(name)' is not an IAM role name", mend: "Letters, digits and +=,.@_- only.")
    }
    self.partition = partition
    self.account = account
    self.path = path
    self.name = name
  }

  /// Reads a full role ARN; ARNs of other kinds (such as assumed roles) are refused.
  public init(_ text: String) throws {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 6, parts[0] == "arn", parts[2] == "iam", parts[3].isEmpty, parts[5].hasPrefix("role/") else {
      throw AWSError(
        "InvalidParameter", "'\(text)' is not the ARN of an IAM role", mend: "Write arn:aws:iam::ACCOUNT:role/NAME.")
    }
    let resource = parts[5].dropFirst(4)
    let cut = resource.lastIndex(of: "/") ?? resource.startIndex
    try self.init(
      partition: parts[1], account: parts[4], path: String(resource[...cut]),
      name: String(resource[resource.index(after: cut)...]))
  }

  /// The role a database user stands for: a bare name belongs to the database's own account and partition, a full ARN
  /// must as well.
  ///
  /// - Parameter mayBeForeign: somebody who may has written that very ARN: it may be of another account or partition.
  public static func ofDatabaseUser(
    _ user: String, account: String, region: String, mayBeForeign: Bool = false
  ) throws -> RoleARN {
    let partition = Partition(region: region).rawValue
    guard user.hasPrefix("arn:") else { return try RoleARN(partition: partition, account: account, name: user) }
    let role = try RoleARN(user)
    guard mayBeForeign || (role.account == account && role.partition == partition) else {
      throw AWSError(
        "InvalidParameter",
        "role \(role) is of another account or partition than the database (\(partition), \(account))",
        mend: "Use a role of account \(account); else a role's db_users has to name this ARN in full.")
    }
    return role
  }

  /// Both spellings of a database user: the bare name (for roles without path) and the ARN; only itself if it is neither.
  public static func spellings(ofDatabaseUser user: String, account: String, region: String) -> [String] {
    guard let role = try? ofDatabaseUser(user, account: account, region: region) else { return [user] }
    let isBare = role.path == "/"
    return [user] + [role.description].filter { $0 != user } + (isBare && role.name != user ? [role.name] : [])
  }

  /// The name in an ARN, which is all of it that the database knows the user by; `nil` if `user` is no ARN of a role.
  public static func name(inDatabaseUser user: String) -> String? { try? RoleARN(user).name }

  /// Whether `text` is an account's number: twelve digits.
  public static func isAccount(_ text: String) -> Bool {
    text.utf8.count == 12 && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
  }

  private static func isName(_ text: String) -> Bool {
    (1...64).contains(text.utf8.count)
      && text.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
          || "+=,.@_-".utf8.contains(byte)
      }
  }
}
