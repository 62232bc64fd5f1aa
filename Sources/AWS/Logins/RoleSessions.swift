import Foundation

/// Credentials of roles assumed one after the other, kept and renewed ahead of their end. Thread-safe.
public final class RoleSessions: Sendable {
  /// The roles in their order, and where STS is asked.
  public struct Path: Hashable, Sendable {
    let region: String
    var hops: [STSClient.RoleSession]

    public init(region: String, hops: [STSClient.RoleSession]) {
      self.region = region
      self.hops = hops
    }

    /// The same without its last hop; `nil`: there was only one.
    var parent: Path? { hops.count > 1 ? Path(region: region, hops: hops.dropLast()) : nil }
  }

  private let environment: AWSEnvironment
  private let own: OwnCredentials
  private let cache: ExpiringCache<Path, AWSCredentials>

  init(environment: AWSEnvironment, own: OwnCredentials, maximumEntries: Int) {
    self.environment = environment
    self.own = own
    cache = ExpiringCache(
      "a role's credentials", environment, maximumEntries: maximumEntries, joinLimit: 2 * environment.callBudget)
  }

  /// Sessions that begin with this host's own credentials.
  public convenience init(environment: AWSEnvironment) {
    self.init(environment: environment, own: OwnCredentials(environment: environment), maximumEntries: 1000)
  }

  /// What `call` gives with the credentials at the end of `path`; if AWS says that they are void, with new ones.
  ///
  /// - Parameter budget: seconds for all signed calls together, from the first on; `nil`: those of a login.
  /// - Throws: `LoginFailure` of the path, and what `call` throws.
  public func using<Result>(
    _ path: Path?, budget: TimeInterval? = nil, _ call: (AWSCaller, AWSCredentials) async throws -> Result
  ) async throws -> Result {
    func attempt() async throws -> Result {
      // The search for this host's own has a limit of its own: the calls' budget begins after it.
      let caller = AWSCaller(environment: environment, budget: budget)
      let credentials = try await credentials(path, caller)
      return try await call(caller, credentials)
    }
    do {
      return try await attempt()
    } catch let failure as any AWSFailure where failure.meansStaleCredentials {
      await forget(path)
      return try await attempt()
    }
  }

  /// The credentials at the end of `path`; this host's own for `nil`.
  ///
  /// - Parameter caller: makes the calls, if there have to be any.
  /// - Throws: `LoginFailure`.
  func credentials(_ path: Path?, _ caller: AWSCaller) async throws -> AWSCredentials {
    guard let path, let last = path.hops.last else { return try await ownCredentials() }
    return try await cache.value(for: path) { [self] in
      let base = try await credentials(path.parent, caller)
      do {
        let made = try await STSClient(caller: caller, region: path.region).assumeRole(last, with: base)
        return .init(made, Validity(until: made.expiration, from: environment.clock.now))
      } catch let error as AWSError {
        throw LoginFailure.assumeRole(last.role, error)
      }
    }.value
  }

  private func ownCredentials() async throws -> AWSCredentials {
    do {
      return try await own.find().credentials
    } catch let error as CredentialsError {
      throw LoginFailure.credentials(error)
    }
  }

  /// AWS said that some credentials of the path are void: all of it is made anew at the next call.
  func forget(_ path: Path?) async {
    var path = path
    while let each = path {
      await cache.forget(each)
      path = each.parent
    }
    await own.forget()
  }
}
