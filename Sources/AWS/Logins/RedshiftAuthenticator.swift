import Foundation
import Metrics
import Secrets

/// Gets temporary logins: own credentials → (assume_role_arn →) the user's role → a temporary password.
///
/// Logins and the roles' credentials on the way are kept and renewed ahead of their end; see `ExpiringCache`. Thread-safe.
public final class RedshiftAuthenticator: Sendable {
  private struct Key: Hashable {
    let login: DatabaseLogin
    /// AWS's records say who it was: people share no session.
    let sessionName: String
  }

  private let environment: AWSEnvironment
  private let roles: RoleSessions
  private let logins: ExpiringCache<Key, DatabaseCredentials>
  // Held, so that a login that is kept asks no registry for its counter.
  private let hits = RedshiftAuthenticator.counter("hit")

  /// - Parameter maximumEntries: logins that are kept, and roles' credentials as well.
  public init(environment: AWSEnvironment, maximumEntries: Int = 10_000) {
    self.environment = environment
    roles = RoleSessions(
      environment: environment, own: OwnCredentials(environment: environment), maximumEntries: maximumEntries)
    // The signed calls' budget, and as much again to find this host's own credentials.
    logins = ExpiringCache(
      "a database login", environment, maximumEntries: maximumEntries, joinLimit: 2 * environment.callBudget)
  }

  /// A login that is good for a while yet.
  ///
  /// - Parameters:
  ///   - userName: the person, for AWS's own records.
  ///   - rejected: a password that the database has refused; it is forgotten if it is the one kept.
  /// - Returns: `isCached`: it may have been refused before, or be so by now.
  /// - Throws: `LoginFailure`.
  public func credentials(
    for login: DatabaseLogin, userName: String, rejected: Secret? = nil
  ) async throws -> (credentials: DatabaseCredentials, isCached: Bool) {
    let key = Key(login: login, sessionName: SessionName.make(userName))
    do {
      let make: ExpiringCache<Key, DatabaseCredentials>.Make = { [environment, roles] in
        let path = key.login.path(sessionName: key.sessionName)
        let made = try await roles.using(path) { caller, credentials in
          do {
            return try await key.login.password(caller, credentials)
          } catch let error as AWSError {
            throw LoginFailure.password(error)
          }
        }
        return .init(
          made, Validity(until: made.expiration, from: environment.clock.now, suggested: made.nextRefresh))
      }
      let (credentials, origin) = try await logins.value(
        for: key, isRejected: { $0.password === rejected }, make: make)
      if origin == .kept { hits.increment() } else { Self.counter(origin.rawValue).increment() }
      return (credentials, origin != .made)
    } catch {
      Self.counter("failure").increment()
      throw error
    }
  }

  private static func counter(_ result: String) -> Counter {
    Counter(label: "sallyport_credential_cache_total", dimensions: [("result", result)])
  }
}
