import TextForms

/// How many connections the public port takes. Decision 031 says why these are the defaults.
public struct AdmissionLimits: Sendable, Equatable {
  /// Open at once from one source: an IPv4 address or a /64 of IPv6.
  public var connections = 15_000
  /// Open at once, all reactors together.
  public var totalConnections = 40_000
  /// Open at once from one source without having shown a certificate.
  public var unauthenticated = 256
  /// Likewise from all sources.
  public var totalUnauthenticated = 10_000
  /// Connections a second from one source that end without having shown one, on average over `Admission.window`.
  public var unauthenticatedRate = 50
  /// Sources without limits of their own, such as a load balancer that hides its clients.
  public var exempt: [AddressBlock] = []

  public init() {}
}
