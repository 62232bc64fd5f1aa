import AWS
import ConfigurationFile
import ControlAPI

/// A region of AWS as one identity sees it.
struct Place: Hashable, Sendable {
  let region: String
  /// Assumed for looking there; `nil`: this host's own identity looks.
  let role: RoleARN?
  let externalID: String?

  /// As AWS's own records name the sessions.
  private static let sessionName = "sallyport-discovery"

  /// The way to its credentials.
  var path: RoleSessions.Path? {
    role.map { role in
      RoleSessions.Path(
        region: region, hops: [STSClient.RoleSession(role: role, name: Self.sessionName, externalID: externalID)])
    }
  }

  var description: String { region + (role.map { " as \($0)" } ?? "") }
}

/// What is listed at a place by one kind of call: it is known as a whole, or it is not.
struct Listing: Hashable, Sendable {
  enum Subject: CaseIterable { case workgroups, endpoints, clusters }

  let place: Place
  let subject: Subject
}

/// An entry of `aws` of the configuration, made ready.
public struct DiscoveryMatcher: Sendable {
  let matcher: AWSMatcher
  let places: [Place]

  /// - Throws: `ConfigurationError` for a role that cannot be assumed for these regions.
  public init(_ matcher: AWSMatcher) throws {
    self.matcher = matcher
    do {
      let role = try matcher.assumeRoleARN.map { try RoleARN($0) }
      for region in matcher.regions {
        guard let role, role.partition != Partition(region: region).rawValue else { continue }
        throw ConfigurationError("aws: assume_role_arn \(role) is of another partition than region \(region)")
      }
      places = matcher.regions.map { Place(region: $0, role: role, externalID: matcher.externalID) }
    } catch let error as AWSError {
      throw ConfigurationError("aws: \(error.message)")
    }
  }

  var listings: [Listing] {
    let subjects = matcher.types.flatMap { type -> [Listing.Subject] in
      switch type {
      case .redshiftServerless: [.workgroups, .endpoints]
      case .redshift: [.clusters]
      }
    }
    return places.flatMap { place in subjects.map { Listing(place: place, subject: $0) } }
  }
}

extension Listing {
  /// The listing that a resource made here comes from; `nil` for one that was not.
  init?(of resource: DatabaseResource) {
    guard let aws = resource.spec.aws, let region = aws.region else { return nil }
    let role = aws.assumeRoleARN.flatMap { try? RoleARN($0) }
    place = Place(region: region, role: role, externalID: aws.externalID)
    if aws.redshift?.clusterID != nil {
      subject = .clusters
    } else if let serverless = aws.redshiftServerless {
      subject = serverless.endpointName == nil ? .workgroups : .endpoints
    } else {
      return nil
    }
  }
}
