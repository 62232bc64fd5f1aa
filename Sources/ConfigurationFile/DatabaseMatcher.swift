import AccessControl
import ControlAPI

/// One entry of `db_service.resources`: which of the cluster's databases this Database Service serves besides its own.
public struct DatabaseMatcher: Sendable, Equatable {
  public let labels: LabelSelector
  /// Role to assume for the databases it chooses, in place of their own; `nil` leaves theirs.
  public let assumeRoleARN: String?
  public let externalID: String?

  init(_ section: YAMLSection) throws {
    try section.allow(["labels", "aws"])
    guard let labels = try section.selector("labels") else {
      throw section.complaint("labels", "is needed: which databases to serve; '*': '*' is all of them")
    }
    self.labels = labels
    let aws = try section.section("aws")
    try aws?.allow(["assume_role_arn", "external_id"])
    assumeRoleARN = try aws?.string("assume_role_arn")
    externalID = try aws?.string("external_id")
  }
}

extension DatabaseConfiguration {
  /// The database as a service with these matchers serves it; `nil` if none of them means it.
  ///
  /// - Throws: what reading the resource throws.
  public init?(_ resource: DatabaseResource, matchers: [DatabaseMatcher]) throws {
    let matching = matchers.filter { $0.labels.matches(resource.metadata.labels ?? [:]) }
    guard !matching.isEmpty else { return nil }
    try self.init(resource)
    // As Teleport does it: of several matchers that name a role, the last one counts.
    if let matcher = matching.last(where: { $0.assumeRoleARN != nil }) {
      (assumeRoleARN, externalID) = (matcher.assumeRoleARN, matcher.externalID)
    }
  }
}
