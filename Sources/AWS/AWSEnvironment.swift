import Foundation

/// What the AWS clients read from their surroundings, in one injectable value.
public struct AWSEnvironment: Sendable {
  public let variables: [String: String]
  public let transport: any HTTPTransport
  public let now: @Sendable () -> Date
  /// Seconds since some moment, monotonic: limits are counted on it, so that no change of the clock stretches them.
  public let uptime: @Sendable () -> TimeInterval
  /// Seconds that all signed calls of one login may take together, retries included.
  public let callBudget: TimeInterval

  public init(
    variables: [String: String] = ProcessInfo.processInfo.environment,
    transport: any HTTPTransport = NetworkTransport(),
    now: @escaping @Sendable () -> Date = { Date() },
    uptime: @escaping @Sendable () -> TimeInterval = { ProcessInfo.processInfo.systemUptime },
    callBudget: TimeInterval = 10
  ) {
    self.variables = variables
    self.transport = transport
    self.now = now
    self.uptime = uptime
    self.callBudget = callBudget
  }

  /// A variable that is set and not empty.
  func variable(_ name: String) -> String? { variables[name].flatMap { $0.isEmpty ? nil : $0 } }

  /// The endpoint of a service: AWS_ENDPOINT_URL_<SERVICE>, AWS_ENDPOINT_URL, else the region's own.
  func endpoint(service: String, region: String) throws -> URL {
    let name = "AWS_ENDPOINT_URL_" + service.uppercased().replacingOccurrences(of: "-", with: "_")
    let suffix = region.hasPrefix("cn-") ? "amazonaws.com.cn" : "amazonaws.com"
    let text = variable(name) ?? variable("AWS_ENDPOINT_URL") ?? "https://\(service).\(region).\(suffix)/"
    guard let url = URL(string: text), url.host != nil, ["http", "https"].contains(url.scheme) else {
      throw AWSError(
        "InvalidParameter", "the endpoint for \(service) is not a URL", mend: "Check \(name) and AWS_ENDPOINT_URL.")
    }
    return url.path.isEmpty ? url.appendingPathComponent("/") : url
  }
}
