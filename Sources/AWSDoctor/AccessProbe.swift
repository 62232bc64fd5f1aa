import AWS
import Doctor
import Foundation

/// Looks at AWS's half of a login: credentials of this host, who they are, each role of the chain, the password.
public struct AccessProbe: Sendable {
  private let environment: AWSEnvironment
  private let login: DatabaseLogin

  private static let sessionName = "sallyport-doctor"

  public init(_ login: DatabaseLogin, environment: AWSEnvironment) {
    self.login = login
    self.environment = environment
  }

  /// What was found, and the password if everything works.
  public func examine() async -> (findings: [Finding], credentials: DatabaseCredentials?) {
    var findings: [Finding] = []
    let found: FoundCredentials
    do {
      found = try await CredentialChain(environment: environment).find()
    } catch {
      findings.append(Self.noCredentials(error))
      return (
        findings + Finding.skipped([.callerIdentity, .assumeRole, .databaseCredentials], after: .credentials), nil
      )
    }
    let report = found.report
    let end = report.expiration.map { "good until \($0.formatted(.iso8601))" } ?? "without end"
    findings.append(.works(.credentials, "\(report.source): key \(report.accessKeyID), \(end)"))

    let caller = AWSCaller(environment: environment, budget: 30)
    let sts = STSClient(caller: caller, region: login.region)
    let identity: CallerIdentity
    do {
      identity = try await sts.callerIdentity(found.credentials)
    } catch {
      findings.append(.broken(.callerIdentity, Self.text(error), mend: Mend.call(error, region: login.region)))
      return (findings + Finding.skipped([.assumeRole, .databaseCredentials], after: .callerIdentity), nil)
    }
    findings.append(.works(.callerIdentity, identity.arn))
    return await assume(
      login.hops(sessionName: Self.sessionName), sts, caller, found.credentials, identity.arn, findings)
  }

  private func assume(
    _ hops: [STSClient.RoleSession], _ sts: STSClient, _ caller: AWSCaller, _ own: AWSCredentials, _ ownARN: String,
    _ before: [Finding]
  ) async -> (findings: [Finding], credentials: DatabaseCredentials?) {
    var findings = before
    var (credentials, principal) = (own, Mend.principal(ownARN))
    for hop in hops {
      do {
        credentials = try await sts.assumeRole(hop, with: credentials)
        findings.append(.works(.assumeRole, "\(hop.role) lets \(principal) in"))
        principal = hop.role.description
      } catch {
        findings.append(
          .broken(
            .assumeRole, "\(hop.role): \(Self.text(error))",
            mend: Mend.assumeRole(error, hop, by: principal, region: login.region)))
        return (findings + Finding.skipped([.databaseCredentials], after: .assumeRole), nil)
      }
    }
    do {
      let result = try await login.password(caller, credentials)
      findings.append(
        .works(
          .databaseCredentials, "a password for '\(result.user)', good until \(result.expiration.formatted(.iso8601))"))
      return (findings, result)
    } catch {
      findings.append(
        .broken(.databaseCredentials, Self.text(error), mend: Mend.databaseCredentials(error, login, by: principal)))
      return (findings, nil)
    }
  }

  private static func noCredentials(_ error: any Error) -> Finding {
    guard let error = error as? CredentialsError else { return .broken(.credentials, text(error), mend: []) }
    return .broken(.credentials, error.failure?.details ?? error.description, mend: Mend.credentials(error))
  }

  private static func text(_ error: any Error) -> String { (error as? AWSError)?.details ?? "\(error)" }
}
