import Foundation

/// Which AWS identities may join with a token of method `iam`, as Teleport's token resource spells it in `spec.allow`.
public struct AWSJoinRule: Codable, Sendable, Equatable {
  /// Twelve digits.
  public var account: String?
  /// An ARN as sts:GetCallerIdentity tells it; `*` stands for any text, `?` for one character.
  public var arn: String?

  enum CodingKeys: String, CodingKey {
    case account = "aws_account"
    case arn = "aws_arn"
  }

  public init(account: String?, arn: String?) {
    self.account = account
    self.arn = arn
  }
}

/// Answer of `POST /v1/join/iam/challenge`: to be signed with the host's AWS credentials, once and soon.
public struct IAMChallenge: Codable, Sendable {
  public var challenge: String

  public init(challenge: String) { self.challenge = challenge }
}

/// Body of `POST /v1/join/iam`.
public struct IAMJoinRequest: Codable, Sendable {
  /// Its `token` is the name of a token of method `iam`.
  public var join: JoinRequest
  public var challenge: String
  public var proof: IAMProof

  public init(join: JoinRequest, challenge: String, proof: IAMProof) {
    self.join = join
    self.challenge = challenge
    self.proof = proof
  }
}

/// The parts of a signed sts:GetCallerIdentity request that only its signer can know.
public struct IAMProof: Codable, Sendable {
  public var region: String
  public var date: String
  public var authorization: String
  public var securityToken: String?

  public init(region: String, date: String, authorization: String, securityToken: String?) {
    self.region = region
    self.date = date
    self.authorization = authorization
    self.securityToken = securityToken
  }
}
