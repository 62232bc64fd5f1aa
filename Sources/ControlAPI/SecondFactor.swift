import AccessControl
import Foundation

/// The `cluster_auth_preference` resource: how the cluster's users prove who they are.
public struct AuthPreference: ClusterResource {
  public static let kind = "cluster_auth_preference"
  /// There is one only.
  public static let name = "cluster-auth-preference"

  public struct Spec: Codable, Sendable {
    public var type: String?
    public var secondFactor: SecondFactorMode

    enum CodingKeys: String, CodingKey {
      case type
      case secondFactor = "second_factor"
    }

    public init(secondFactor: SecondFactorMode) {
      type = "local"
      self.secondFactor = secondFactor
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys(
        enforced: ["type", "second_factor"], foreign: ["webauthn", "u2f", "idp"],
        unenforced: [
          "second_factors": [], "connector_name": ["local", ""], "allow_local_auth": ["true"],
          "allow_passwordless": ["false"], "allow_headless": ["false"], "require_session_mfa": ["false", "0", ""],
          "disconnect_expired_cert": ["false"], "locking_mode": ["best_effort", ""], "message_of_the_day": [""],
          "device_trust": [], "default_session_ttl": ["12h0m0s", ""], "hardware_key": [],
        ]
      ).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      type = try values.decodeIfPresent(String.self, forKey: .type)
      secondFactor = try values.decode(SecondFactorMode.self, forKey: .secondFactor)
    }
  }

  public var kind: String
  public var version: String
  /// The label `teleport.dev/origin` tells where the setting comes from: `config-file`, `dynamic` or `defaults`.
  public var metadata: ResourceMetadata
  public var spec: Spec

  public init(secondFactor: SecondFactorMode, origin: String) {
    kind = Self.kind
    version = "v2"
    metadata = ResourceMetadata(name: Self.name, labels: ["teleport.dev/origin": origin])
    spec = Spec(secondFactor: secondFactor)
  }

  public init(from decoder: any Decoder) throws {
    try RoleKeys.resource.check(decoder)
    let values = try decoder.container(keyedBy: CodingKeys.self)
    kind = try values.decode(String.self, forKey: .kind)
    version = try values.decodeIfPresent(String.self, forKey: .version) ?? "v2"
    metadata =
      try values.decodeIfPresent(ResourceMetadata.self, forKey: .metadata) ?? ResourceMetadata(name: Self.name)
    spec = try values.decode(Spec.self, forKey: .spec)
    try validate()
  }

  public var name: String { Self.name }

  public func validate() throws {
    try checkHeader(kind, version, allowed: "v2")
    guard ["local", nil].contains(spec.type) else {
      throw RoleError("type must be 'local'; there are no other connectors", at: ["spec", "type"])
    }
  }
}

/// Answer of `GET /v1/webapi/invites/SECRET`: what a sign-up asks for.
public struct InviteDetails: Codable, Sendable {
  public var user: String
  public var clusterName: String
  public var expires: Date
  public var secondFactor: SecondFactorMode
  /// What an authenticator app needs, as URI for a QR code and as base 32 for typing; `nil` where codes are off.
  public var otpURI: String?
  public var otpSecret: String?

  public init(
    user: String, clusterName: String, expires: Date, secondFactor: SecondFactorMode, otpURI: String?,
    otpSecret: String?
  ) {
    self.user = user
    self.clusterName = clusterName
    self.expires = expires
    self.secondFactor = secondFactor
    self.otpURI = otpURI
    self.otpSecret = otpSecret
  }
}

/// Body of `POST /v1/webapi/invites/SECRET`.
public struct InviteAcceptance: Codable, Sendable {
  public var password: String
  /// A current code of the app that was set up; `nil` to go without, where the cluster lets one.
  public var otp: String?

  public init(password: String, otp: String?) {
    self.password = password
    self.otp = otp
  }
}

/// Its answer.
public struct InviteAccepted: Codable, Sendable {
  public var user: String
  public var hasSecondFactor: Bool

  public init(user: String, hasSecondFactor: Bool) {
    self.user = user
    self.hasSecondFactor = hasSecondFactor
  }
}
