import Foundation
import Secrets

/// A role for the holder of another provider's token, such as a Kubernetes service account's (IRSA): `AWS_ROLE_ARN` and
/// `AWS_WEB_IDENTITY_TOKEN_FILE`, or `role_arn` and `web_identity_token_file` of a profile.
struct WebIdentitySource: CredentialSource {
  let environment: AWSEnvironment
  let name: String
  let role: String?
  let tokenFile: String?
  let sessionName: String?
  var duration = 3600

  static func fromVariables(_ environment: AWSEnvironment) -> WebIdentitySource {
    WebIdentitySource(
      environment: environment, name: "web identity", role: environment.variable("AWS_ROLE_ARN"),
      tokenFile: environment.variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
      sessionName: environment.variable("AWS_ROLE_SESSION_NAME"))
  }

  func find() async throws -> FoundCredentials {
    guard let role, let tokenFile else {
      throw NotConfigured("AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE are not both set")
    }
    let arn = try RoleARN(role)
    // The file is renewed by others: read anew each time.
    let token = Secret(utf8: try SmallFile.text(tokenFile, "the token of \(name)"))
    let session = STSClient.RoleSession(
      role: arn, name: sessionName ?? SessionName.ofService(environment), duration: duration)
    let sts = STSClient(caller: AWSCaller(environment: environment), region: environment.region(for: arn))
    return FoundCredentials(
      credentials: try await sts.assumeRole(session, webIdentity: token), source: "\(name) (\(arn))")
  }
}

extension SessionName {
  /// For sessions that no person asked for.
  static func ofService(_ environment: AWSEnvironment) -> String {
    "sallyport-\(Int64(environment.clock.now.timeIntervalSince1970))"
  }
}

extension AWSEnvironment {
  /// Where to ask for `role`: in the region that is set, if it is of the role's partition.
  func region(for role: RoleARN) -> String {
    let partition = Partition(rawValue: role.partition) ?? .standard
    guard let region, Partition(region: region) == partition else { return partition.anyRegion }
    return region
  }
}
