import AWS

/// The role or user that gets the permissions.
public struct BootstrapTarget: Sendable, Equatable {
  /// An account's number, twelve digits (`nil`: not known), and its partition.
  public typealias Account = (number: String?, partition: Partition)

  public let identity: IAMClient.Identity
  /// Twelve digits; `nil`: not known, without asking AWS.
  public let account: String?
  public let partition: Partition
  /// With its path; `nil`: not known, without asking AWS.
  public let arn: String?

  public init(identity: IAMClient.Identity, account: String?, partition: Partition, arn: String? = nil) {
    self.identity = identity
    self.account = account
    self.partition = partition
    self.arn = arn
  }

  /// Reads what AWS answers to the question who is calling, or an ARN that somebody wrote.
  ///
  /// A role's session (`arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION`) stands for the role; its path is not told then.
  ///
  /// - Throws: `BootstrapError` for the root user and all else that no policy can be attached to.
  public init(arn text: String) throws {
    let parts = text.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 6, parts[0] == "arn", let partition = Partition(rawValue: parts[1]),
      RoleARN.isAccount(parts[4])
    else { throw BootstrapError("'\(text)' is not the ARN of an IAM role or user") }
    let path = parts[5].split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    switch (parts[2], path.first) {
    case ("iam", "role") where path.count >= 2:
      self.init(identity: .role(path[path.count - 1]), account: parts[4], partition: partition, arn: text)
    case ("iam", "user") where path.count >= 2:
      self.init(identity: .user(path[path.count - 1]), account: parts[4], partition: partition, arn: text)
    case ("sts", "assumed-role") where path.count == 3:
      self.init(identity: .role(path[1]), account: parts[4], partition: partition)
    default:
      throw BootstrapError(
        "no policy can be attached to \(text)", mend: "Name a role or user with --attach-to-role or --attach-to-user.")
    }
  }

  public var name: String {
    switch identity {
    case .role(let name), .user(let name): name
    }
  }

  /// `role NAME` or `user NAME`.
  public var description: String {
    switch identity {
    case .role(let name): "role \(name)"
    case .user(let name): "user \(name)"
    }
  }

  /// Whether it is that role, as far as is known of it.
  func isRole(_ role: RoleARN) -> Bool {
    guard case .role(let name) = identity else { return false }
    if let arn { return arn == role.description }
    return name == role.name && (account == nil || account == role.account)
  }

  /// Value of the tag on policies made for it. A name is unique in its account whatever its path; commas are not for tags.
  var tagValue: String {
    switch identity {
    case .role(let name): "role/" + name.replacing(",", with: " ")
    case .user(let name): "user/" + name.replacing(",", with: " ")
    }
  }
}

/// Why permissions cannot be worked out or given. Never holds a secret.
public struct BootstrapError: Error, Sendable, Equatable, CustomStringConvertible {
  public let message: String
  public let mend: String?

  public init(_ message: String, mend: String? = nil) {
    self.message = message
    self.mend = mend
  }

  public var description: String { message + (mend.map { " (\($0))" } ?? "") }
}
