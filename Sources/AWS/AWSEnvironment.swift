import Foundation

/// What the AWS clients read from their surroundings, in one injectable value.
public struct AWSEnvironment: Sendable {
  public let variables: [String: String]
  public let transport: any HTTPTransport
  /// The time at AWS: signatures are dated and expiry is judged by it.
  public let clock: AWSClock
  /// Seconds since some moment, monotonic: limits are counted on it, so that no change of the clock stretches them.
  public let uptime: @Sendable () -> TimeInterval
  /// Seconds that all signed calls of one login may take together, retries included.
  public let callBudget: TimeInterval
  let retryQuota = RetryQuota()
  /// The shared files as they were when this value was made: for settings other than credentials.
  let configuration: SharedConfiguration

  /// - Parameter transport: `nil`: the network, with proxies and CA certificates as `variables` and the profile say.
  public init(
    variables: [String: String] = ProcessInfo.processInfo.environment,
    transport: (any HTTPTransport)? = nil,
    now: @escaping @Sendable () -> Date = { Date() },
    uptime: @escaping @Sendable () -> TimeInterval = { ProcessInfo.processInfo.systemUptime },
    callBudget: TimeInterval = 10
  ) {
    self.variables = variables
    configuration = SharedConfiguration.load(variables)
    let caBundle =
      variables["AWS_CA_BUNDLE"] ?? configuration.settings(ofProfile: Self.profileName(variables))?["ca_bundle"]
    self.transport = transport ?? NetworkTransport(proxies: ProxySettings(variables), caBundle: caBundle)
    clock = AWSClock(now)
    self.uptime = uptime
    self.callBudget = callBudget
  }

  /// A variable that is set and not empty.
  func variable(_ name: String) -> String? { variables[name].flatMap { $0.isEmpty ? nil : $0 } }

  /// Name of the profile in use.
  var profileName: String { Self.profileName(variables) }

  private static func profileName(_ variables: [String: String]) -> String {
    variables["AWS_PROFILE"].flatMap { $0.isEmpty ? nil : $0 } ?? "default"
  }

  /// Settings of the profile in use; empty if there is none.
  var profile: [String: String] { configuration.settings(ofProfile: profileName) ?? [:] }

  /// A variable, else a key of the profile in use.
  func setting(_ variable: String, profileKey: String) -> String? { self.variable(variable) ?? profile[profileKey] }

  func isSet(_ variable: String, profileKey: String) -> Bool {
    setting(variable, profileKey: profileKey)?.lowercased() == "true"
  }

  /// The region that is set for this process: `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile's.
  public var region: String? { variable("AWS_REGION") ?? setting("AWS_DEFAULT_REGION", profileKey: "region") }
}
