import AccessControl

/// Body of `POST /v1/discovery/databases`: a Discovery Service has found something, or has found it gone.
public struct DiscoveredDatabases: Codable, Sendable {
  /// Whose the resources are: others are not touched.
  public var group: String
  /// To be made, or to be made like this.
  public var databases: [DatabaseResource]
  /// Names of those to be removed.
  public var removed: [String]

  public init(group: String, databases: [DatabaseResource] = [], removed: [String] = []) {
    self.group = group
    self.databases = databases
    self.removed = removed
  }

  /// Databases and names that one request may have together.
  public static let maximumCount = 100
}

/// Its answer.
public struct DiscoveryAnswer: Codable, Sendable {
  /// Why each of these could not be taken up, by name.
  public var refused: [String: String]

  public init(refused: [String: String]) { self.refused = refused }
}

extension DatabaseResource {
  private static let originLabel = "teleport.dev/origin"
  private static let groupLabel = "teleport.internal/discovery-group-name"
  private static let discovered = "cloud"

  /// A Discovery Service made it.
  public var isDiscovered: Bool { metadata.labels?[Self.originLabel] == Self.discovered }

  /// The discovery group that may change and remove it; `nil`: none may.
  public var discoveryGroup: String? { isDiscovered ? metadata.labels?[Self.groupLabel] : nil }

  /// The resource as that group's own.
  public func owned(by group: String) -> DatabaseResource {
    var resource = self
    resource.metadata.labels = (metadata.labels ?? [:]).merging(
      [Self.originLabel: Self.discovered, Self.groupLabel: group]
    ) { $1 }
    return resource
  }
}
