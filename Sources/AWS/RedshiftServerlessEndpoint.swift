/// What a Redshift Serverless host name tells.
public struct RedshiftServerlessEndpoint: Sendable, Equatable {
  public let workgroup: String
  public let account: String
  public let region: String

  private static let suffixes = [".redshift-serverless.amazonaws.com", ".redshift-serverless.amazonaws.com.cn"]

  /// Reads `WORKGROUP.ACCOUNT.REGION.redshift-serverless.amazonaws.com[.cn]`; `nil` for other hosts.
  ///
  /// A VPC endpoint (`NAME-endpoint-RANDOM.ACCOUNT...`) does not name its workgroup: `workgroup` is empty then.
  public init?(host: String) {
    let host = host.lowercased()
    guard let suffix = Self.suffixes.first(where: host.hasSuffix) else { return nil }
    let parts = host.dropLast(suffix.count).split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 3, !parts[0].isEmpty, RoleARN.isAccount(parts[1]), !parts[2].isEmpty else { return nil }
    workgroup = parts[0].contains("-endpoint-") ? "" : parts[0]
    account = parts[1]
    region = parts[2]
  }
}
