/// Whether logins need a one-time code beside the password: `second_factor` of `cluster_auth_preference`.
public enum SecondFactorMode: String, Codable, Sendable, CaseIterable {
  /// Codes are neither asked for nor set up.
  case off
  /// Who has set one up must use it.
  case optional
  /// Everyone must have one. Both words mean the same here, since one-time codes are the only second factor.
  case on, otp

  public var isRequired: Bool { self == .on || self == .otp }
}
