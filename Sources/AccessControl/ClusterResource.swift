/// A resource of the cluster, as `tctl` reads and prints it: `kind`, `version`, `metadata`, `spec`.
public protocol ClusterResource: Codable, Sendable {
  associatedtype Metadata: NamingMetadata
  /// What stands at `kind`.
  static var kind: String { get }
  var metadata: Metadata { get set }
  /// Names it among those of its kind.
  var name: String { get }
  /// Names the content it was read with; `nil` for one that does not come from the cluster. Whoever changes a resource can
  /// so be told that it has changed meanwhile.
  var revision: String? { get set }
  /// - Throws: `RoleError` that says what is wrong and where.
  func validate() throws
}

/// What `metadata` of every resource has.
public protocol NamingMetadata: Sendable {
  var name: String { get }
  var revision: String? { get set }
}

extension ClusterResource {
  public var name: String { metadata.name }
  public var revision: String? {
    get { metadata.revision }
    set { metadata.revision = newValue }
  }
}

/// `metadata` of a resource.
public struct ResourceMetadata: Codable, Sendable, Equatable, NamingMetadata {
  /// Unique among the resources of the kind (`Role.isValidName`).
  public var name: String
  /// For people.
  public var description: String?
  /// For people and tools; of databases, what roles select by.
  public var labels: [String: String]?
  public var revision: String?

  public init(name: String, description: String? = nil, labels: [String: String]? = nil, revision: String? = nil) {
    self.name = name
    self.description = description
    self.labels = labels
    self.revision = revision
  }

  public init(from decoder: any Decoder) throws {
    try RoleKeys.metadata.check(decoder)
    let values = try decoder.container(keyedBy: CodingKeys.self)
    name = try values.decode(String.self, forKey: .name)
    description = try values.decodeIfPresent(String.self, forKey: .description)
    labels = try values.decodeIfPresent([String: String].self, forKey: .labels)
    revision = try values.decodeIfPresent(String.self, forKey: .revision)
  }
}
