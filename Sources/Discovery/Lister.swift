import AWS
import Foundation

/// Asks AWS for one listing.
struct Lister: Sendable {
  let listing: Listing
  let caller: AWSCaller
  let credentials: AWSCredentials

  /// Calls for tags that are under way at once.
  private static let atOnce = 4

  /// What can be connected to.
  ///
  /// - Throws: `AWSError`. Also if the tags of one cannot be read: roles decide by them.
  func databases() async throws -> [DiscoveredDatabase] {
    let place = listing.place
    switch listing.subject {
    case .clusters:
      let clusters = try await RedshiftClient(caller: caller, region: place.region, credentials: credentials).clusters()
      return clusters.compactMap { DiscoveredDatabase($0, at: place) }
    case .workgroups:
      return try await tagged(serverless.workgroups(), arn: \.workgroupArn) {
        DiscoveredDatabase($0, tags: $1, at: place)
      }
    case .endpoints:
      let endpoints = try await serverless.endpoints()
      guard !endpoints.isEmpty else { return [] }
      let workgroups = Dictionary(try await serverless.workgroups().map { ($0.workgroupName, $0) }) { first, _ in first
      }
      return try await tagged(endpoints, arn: \.endpointArn) { endpoint, tags in
        workgroups[endpoint.workgroupName].flatMap { DiscoveredDatabase(endpoint, of: $0, tags: tags, at: place) }
      }
    }
  }

  private var serverless: RedshiftServerlessClient {
    RedshiftServerlessClient(caller: caller, region: listing.place.region, credentials: credentials)
  }

  private func tagged<Item: Sendable>(
    _ items: [Item], arn: @escaping @Sendable (Item) -> String,
    _ make: @escaping @Sendable (Item, [String: String]) -> DiscoveredDatabase?
  ) async throws -> [DiscoveredDatabase] {
    try await withThrowingTaskGroup(of: DiscoveredDatabase?.self) { group in
      var found: [DiscoveredDatabase] = []
      for (index, item) in items.enumerated() {
        if index >= Self.atOnce, let database = try await group.next() { database.map { found.append($0) } }
        group.addTask {
          do {
            return make(item, try await serverless.tags(ofResource: arn(item)))
          } catch let error as AWSError where error.code == "ResourceNotFoundException" {
            // It has gone since it was listed.
            return nil
          }
        }
      }
      for try await database in group { database.map { found.append($0) } }
      return found
    }
  }
}
