import Foundation

/// This host's own AWS credentials, kept and renewed ahead of their end. Thread-safe.
public final class OwnCredentials: Sendable {
  private struct Only: Hashable {}

  private let environment: AWSEnvironment
  private let cache: ExpiringCache<Only, FoundCredentials>

  public init(environment: AWSEnvironment) {
    self.environment = environment
    // The search and then some.
    cache = ExpiringCache(
      "this host's own AWS credentials", environment, maximumEntries: 1, joinLimit: environment.callBudget)
  }

  /// - Throws: `CredentialsError`.
  public func find() async throws -> FoundCredentials {
    try await cache.value(for: Only()) { [environment] in
      let found = try await CredentialChain(environment: environment).find()
      return .init(found, Validity(until: found.credentials.expiration, from: environment.clock.now))
    }.value
  }

  /// AWS said they are void: look again at the next call.
  public func forget() async { await cache.forget(Only()) }
}
