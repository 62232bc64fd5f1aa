import AccessControl
import ControlAPI

/// One entry of `aws` of db_service or discovery_service: which databases to look for in AWS.
public struct AWSMatcher: Sendable, Equatable {
  public let types: [DatabaseType]
  public let regions: [String]
  /// What the tags, and the labels that are derived from AWS's own facts, must be like.
  public let tags: LabelSelector
  /// Role to assume for looking, and for logins at what is found.
  public let assumeRoleARN: String?
  public let externalID: String?

  static let maximumCount = 100
  private static let maximumRegions = 50

  init(_ section: YAMLSection) throws {
    try section.allow([
      "types", "regions", "tags", "assume_role_arn", "external_id", "install", "ssm", "integration",
      "kube_app_discovery", "setup_access_for_arn",
    ])
    try section.refuse(UnsupportedKey.awsMatcher)
    let known = DatabaseType.allCases.map(\.rawValue).joined(separator: ", ")
    types = try section.strings("types").map { name in
      guard let type = DatabaseType(rawValue: name) else {
        throw section.complaint("types", "has '\(name)', which is not looked for; there are: \(known)")
      }
      return type
    }
    guard !types.isEmpty else { throw section.complaint("types", "is needed, of \(known)") }
    regions = try section.strings("regions")
    guard (1...Self.maximumRegions).contains(regions.count), regions.allSatisfy(Self.isRegion) else {
      throw section.complaint(
        "regions", "must name the regions to look in, such as us-east-1, at most \(Self.maximumRegions)")
    }
    tags = try section.selector("tags") ?? LabelSelector(["*": ["*"]])
    assumeRoleARN = try section.string("assume_role_arn")
    externalID = try section.string("external_id")
  }

  /// Every region by name: a wildcard would change with what AWS adds.
  private static func isRegion(_ text: String) -> Bool {
    (1...64).contains(text.utf8.count)
      && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x2d }
  }
}

/// `discovery_service`: looks for databases and makes `db` resources of them.
public struct DiscoveryConfiguration: Sendable, Equatable {
  public var isEnabled = false
  /// Marks the resources that are this service's to change and to remove; empty while it is not enabled.
  public var group = ""
  public var matchers: [AWSMatcher] = []
  public var pollInterval = Self.defaultInterval

  static let defaultInterval = GoDuration(seconds: 300)

  init() {}

  init(_ section: YAMLSection) throws {
    guard try section.bool("enabled") ?? true else { return }
    try section.allow([
      "enabled", "discovery_group", "poll_interval", "aws", "azure", "gcp", "kubernetes", "access_graph",
    ])
    try section.refuse(UnsupportedKey.discoveryService)
    isEnabled = true
    group = try section.string("discovery_group") ?? ""
    matchers = try section.awsMatchers()
    pollInterval = try section.pollInterval()
    guard Role.isValidName(group) else {
      throw section.complaint(
        "discovery_group",
        "is needed: a name of letters, digits and . _ @ + -, the same for services that look for the same databases")
    }
  }
}

extension YAMLSection {
  func awsMatchers() throws -> [AWSMatcher] {
    let matchers = try sections("aws").map(AWSMatcher.init)
    guard matchers.count <= AWSMatcher.maximumCount else {
      throw complaint("aws", "has more than \(AWSMatcher.maximumCount) entries")
    }
    return matchers
  }

  func pollInterval() throws -> GoDuration {
    guard let text = try string("poll_interval") else { return DiscoveryConfiguration.defaultInterval }
    guard let interval = GoDuration(text), (1...86_400).contains(interval.seconds) else {
      throw complaint("poll_interval", "must be a duration from 1s to 24h, such as 5m")
    }
    return interval
  }

  /// A selector of labels, each with a value or a list of them; `nil` without any.
  func selector(_ key: String) throws -> LabelSelector? {
    guard let section = try section(key), !section.keys.isEmpty else { return nil }
    var values: [String: [String]] = [:]
    for name in section.keys { values[name] = try section.strings(name) }
    do {
      return try LabelSelector(values)
    } catch let error as RoleError {
      throw complaint(key, "cannot be used: \(error.description)")
    }
  }
}
