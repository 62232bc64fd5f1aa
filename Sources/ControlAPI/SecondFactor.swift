import AccessControl
import Foundation

/// The `cluster_auth_preference` resource: how the cluster's users prove who they are.
public struct AuthPreference: Codable, Sendable {
  public static let kind = "cluster_auth_preference"

  public struct Metadata: Codable, Sendable {
    public var name = "cluster-auth-preference"
    /// `teleport.dev/origin` tells where the setting comes from: `config-file`, `dynamic` or `defaults`.
    public var labels: [String: String]?
    public init(labels: [String: String]? = nil) { self.labels = labels }
  }

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
  }

  public var kind: String
  public var version: String
  public var metadata: Metadata
  public var spec: Spec

  public init(secondFactor: SecondFactorMode, origin: String) {
    kind = Self.kind
    version = "v2"
    metadata = Metadata(labels: ["teleport.dev/origin": origin])
    spec = Spec(secondFactor: secondFactor)
  }
}

/// Body of `PUT /v1/cluster_auth_preference`.
public struct AuthPreferenceRequest: Codable, Sendable {
  public var preference: AuthPreference
  /// Whether a setting of the configuration file may be overruled until the next start.
  public var force: Bool

  public init(preference: AuthPreference, force: Bool) {
    self.preference = preference
    self.force = force
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
