/// What a host name of Redshift tells, serverless or provisioned.
public struct RedshiftEndpoint: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    /// A workgroup of Redshift Serverless, by name.
    case workgroup(String)
    /// A VPC endpoint of some workgroup, which its name does not tell.
    case workgroupVPCEndpoint
    /// A provisioned cluster, by identifier.
    case cluster(String)
    /// A VPC endpoint of some cluster.
    case clusterVPCEndpoint
  }

  public let kind: Kind
  /// Twelve digits; `nil`: the name does not tell, as with clusters.
  public let account: String?
  public let region: String

  /// Reads `WORKGROUP.ACCOUNT.REGION.redshift-serverless.amazonaws.com[.cn]`,
  /// `CLUSTER.RANDOM.REGION.redshift.amazonaws.com[.cn]` and the names of VPC endpoints, which begin with
  /// `NAME-endpoint-RANDOM` instead; `nil` for other hosts.
  public init?(host: String) {
    let host = host.lowercased().hasSuffix(".") ? host.lowercased().dropLast() : host.lowercased()[...]
    for partition in [Partition.standard, .china] {
      for (service, isServerless) in [("redshift-serverless", true), ("redshift", false)] {
        let suffix = ".\(service).\(partition.dnsSuffix)"
        guard host.hasSuffix(suffix) else { continue }
        let parts = host.dropLast(suffix.count).split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3, parts.allSatisfy({ !$0.isEmpty }),
          (Partition(region: parts[2]) == .china) == (partition == .china)
        else { return nil }
        let isVPCEndpoint = parts[0].contains("-endpoint-")
        if isServerless {
          guard RoleARN.isAccount(parts[1]) else { return nil }
          kind = isVPCEndpoint ? .workgroupVPCEndpoint : .workgroup(parts[0])
          account = parts[1]
        } else {
          kind = isVPCEndpoint ? .clusterVPCEndpoint : .cluster(parts[0])
          account = nil
        }
        region = parts[2]
        return
      }
    }
    return nil
  }

  /// The workgroup, if the name tells it.
  public var workgroup: String? {
    guard case .workgroup(let name) = kind else { return nil }
    return name
  }

  /// The cluster, if the name tells it.
  public var cluster: String? {
    guard case .cluster(let name) = kind else { return nil }
    return name
  }

  /// Whether it is of a provisioned cluster.
  public var isCluster: Bool { kind == .clusterVPCEndpoint || cluster != nil }
}
