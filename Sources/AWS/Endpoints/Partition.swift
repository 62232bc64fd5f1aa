/// One of AWS's separate worlds: its accounts, ARNs and DNS names are its own (partitions.json of the SDKs).
public enum Partition: String, Sendable, CaseIterable {
  case standard = "aws"
  case china = "aws-cn"
  case usGov = "aws-us-gov"

  /// The partition that a region lies in, by its name.
  public init(region: String) {
    self = region.hasPrefix("cn-") ? .china : region.hasPrefix("us-gov-") ? .usGov : .standard
  }

  /// End of the host names of services.
  var dnsSuffix: String { self == .china ? "amazonaws.com.cn" : "amazonaws.com" }

  /// End of the host names that have IPv6 addresses as well.
  var dualStackSuffix: String { self == .china ? "api.amazonwebservices.com.cn" : "api.aws" }

  /// A region of it that is always there, for services that do not care which.
  var anyRegion: String {
    switch self {
    case .standard: "us-east-1"
    case .china: "cn-north-1"
    case .usGov: "us-gov-west-1"
    }
  }
}
