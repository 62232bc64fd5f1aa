import AccessControl

/// Body of `POST /v1/resources/KIND`.
public struct ResourceRequest<Resource: ClusterResource>: Codable, Sendable {
  /// The resource; validated when it is decoded.
  public var resource: Resource
  /// What may be there already.
  public var condition: WriteCondition

  public init(resource: Resource, condition: WriteCondition) {
    self.resource = resource
    self.condition = condition
  }
}

/// What has to be true of a resource for it to be written.
public enum WriteCondition: String, Codable, Sendable {
  /// There is none of that name: `tctl create`.
  case absent
  /// Anything: `tctl create --force`.
  case any
  /// There is one, and it still is what the `revision` of the new one says: `tctl edit`.
  case unchanged
}

/// Its answer.
public struct ResourceResponse: Codable, Sendable {
  /// The name it can be asked for by: of a token, not the token.
  public var name: String
  /// Whether one of that name was there before.
  public var replaced: Bool

  public init(name: String, replaced: Bool) {
    self.name = name
    self.replaced = replaced
  }
}
