import Foundation

/// Finds this host's own AWS credentials in the AWS SDKs' order. Remembers nothing; see `OwnCredentials`.
public struct CredentialChain: Sendable {
  private let environment: AWSEnvironment

  public init(environment: AWSEnvironment) { self.environment = environment }

  /// The credentials of the first source that is set up.
  ///
  /// Takes as long as all calls of a login may, at most (`AWSEnvironment.callBudget`).
  ///
  /// - Throws: `CredentialsError`, which names each source asked.
  public func find() async throws -> FoundCredentials {
    let sources: [any CredentialSource] = [
      EnvironmentSource(environment: environment), ProfileSource(environment: environment),
      WebIdentitySource.fromVariables(environment), ContainerSource(environment: environment),
      InstanceMetadataSource(environment: environment),
    ]
    let deadline = environment.uptime() + environment.callBudget
    var attempts: [CredentialsError.Attempt] = []
    for source in sources {
      do {
        return try await withTimeLimit(max(0, deadline - environment.uptime())) { try await source.find() }
      } catch let error as NotConfigured {
        attempts.append(CredentialsError.Attempt(source: source.name, reason: error.reason, isSilent: error.isSilent))
      } catch {
        let failure =
          error as? AWSError
          ?? AWSError("Timeout", "it took longer than \(Int(environment.callBudget.rounded(.up))) s")
        attempts.append(CredentialsError.Attempt(source: source.name, reason: failure.description))
        throw CredentialsError(attempts: attempts, failure: failure)
      }
    }
    throw CredentialsError(attempts: attempts, failure: nil)
  }
}
