import Foundation
import Secrets
import TextForms

/// The Security Token Service (STS API Reference, version 2011-06-15).
public struct STSClient: Sendable {
  private let caller: AWSCaller
  private let region: String

  public init(caller: AWSCaller, region: String) {
    self.caller = caller
    self.region = region
  }

  /// GetCallerIdentity: needs no permission at all.
  public func callerIdentity(_ credentials: AWSCredentials) async throws -> CallerIdentity {
    let answer = try await caller.call(.sts, "GetCallerIdentity", region: region, credentials: credentials)
    guard let arn = answer.value("Arn"), let account = answer.value("Account") else {
      throw AWSError("InvalidResponse", "STS answered GetCallerIdentity without an identity")
    }
    return CallerIdentity(account: account, arn: arn)
  }

  /// How a role is assumed.
  public struct RoleSession: Hashable, Sendable {
    public let role: RoleARN
    /// Names the session in AWS's own records; see `SessionName`.
    public let name: String
    public let externalID: String?
    /// 900 to 43,200 s; a role assumed by a role's session may have one hour at most.
    public let duration: Int

    public init(role: RoleARN, name: String, externalID: String? = nil, duration: Int = 3600) {
      self.role = role
      self.name = name
      self.externalID = externalID
      self.duration = duration
    }

    fileprivate var parameters: [(name: String, value: String)] {
      [("RoleArn", role.description), ("RoleSessionName", name), ("DurationSeconds", "\(duration)")]
        + (externalID.map { [("ExternalId", $0)] } ?? [])
    }
  }

  /// AssumeRole: the credentials of a role for one that its trust policy names.
  public func assumeRole(_ session: RoleSession, with credentials: AWSCredentials) async throws -> AWSCredentials {
    do {
      return try Self.credentials(
        await caller.call(.sts, "AssumeRole", session.parameters, region: region, credentials: credentials))
    } catch let error as AWSError where error.code == "AccessDenied" {
      throw error.mended(Self.mend(error, session.role))
    }
  }

  /// AssumeRoleWithWebIdentity: the credentials of a role for the holder of another provider's token.
  public func assumeRole(_ session: RoleSession, webIdentity token: Secret) async throws -> AWSCredentials {
    let parameters = session.parameters + [("WebIdentityToken", token.revealText() ?? "")]
    do {
      return try Self.credentials(
        await caller.call(.sts, "AssumeRoleWithWebIdentity", parameters, region: region, credentials: nil))
    } catch let error as AWSError where error.code == "AccessDenied" {
      throw error.mended(
        "The trust policy of \(session.role) must name the token's provider as Principal for "
          + "sts:AssumeRoleWithWebIdentity, with conditions that the token meets.")
    }
  }

  /// What to change, as far as AWS says which of the policies is to blame.
  private static func mend(_ refusal: AWSError, _ role: RoleARN) -> String {
    for (blamed, policy) in [
      ("no identity-based policy allows", "a permission policy"),
      ("no permissions boundary allows", "the permissions boundary"),
    ] where refusal.message.contains(blamed) {
      return "Allow sts:AssumeRole on \(role) in \(policy) of the caller; 'teleport db configure bootstrap' does that."
    }
    return "The trust policy of \(role) must name the caller as Principal for sts:AssumeRole, and the caller's "
      + "permissions (and its boundary) must allow sts:AssumeRole on it."
  }

  static func credentials(_ answer: XMLTree) throws -> AWSCredentials {
    guard let found = answer["Credentials"], let key = found.value("AccessKeyId"),
      let secret = found.value("SecretAccessKey"), let token = found.value("SessionToken"),
      let end = found.value("Expiration").flatMap(Timestamp.date)
    else { throw AWSError("InvalidResponse", "STS answered without credentials") }
    return AWSCredentials(
      accessKeyID: key, secretAccessKey: Secret(utf8: secret), sessionToken: Secret(utf8: token), expiration: end)
  }
}

/// Whom AWS takes the holder of credentials for.
public struct CallerIdentity: Sendable, Equatable {
  /// Twelve digits.
  public let account: String
  /// Of a user, of a role's session (`arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`) or of the root user.
  public let arn: String

  public init(account: String, arn: String) {
    self.account = account
    self.arn = arn
  }
}
