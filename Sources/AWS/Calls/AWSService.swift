/// A service that is called here, and how: names, versions and endpoints of its model in AWS's SDKs.
public struct AWSService: Sendable, Equatable {
  /// Host name prefix and signing name, such as `sts`.
  public let name: String
  /// Names its endpoint's setting: `AWS_ENDPOINT_URL_<THIS>`.
  let settingName: String
  /// Version of its query protocol; empty for a service that is asked otherwise.
  let version: String
  /// What stands before the action in `X-Amz-Target` of its JSON protocol; `nil` for a service of another protocol.
  let target: String?
  /// One endpoint serves a whole partition.
  let isGlobal: Bool

  private init(
    _ name: String, settingName: String, version: String = "", target: String? = nil, isGlobal: Bool = false
  ) {
    self.name = name
    self.settingName = settingName
    self.version = version
    self.target = target
    self.isGlobal = isGlobal
  }

  /// Security Token Service.
  public static let sts = AWSService("sts", settingName: "STS", version: "2011-06-15")
  /// Identity and Access Management.
  public static let iam = AWSService("iam", settingName: "IAM", version: "2010-05-08", isGlobal: true)
  /// Clusters of Redshift that somebody has provisioned.
  public static let redshift = AWSService("redshift", settingName: "REDSHIFT", version: "2012-12-01")
  /// Workgroups of Redshift Serverless.
  public static let redshiftServerless = AWSService(
    "redshift-serverless", settingName: "REDSHIFT_SERVERLESS", target: "RedshiftServerless")
  /// The portal of IAM Identity Center that gives credentials of roles.
  public static let ssoPortal = AWSService("portal.sso", settingName: "SSO")
  /// The part of IAM Identity Center that gives and renews tokens.
  public static let ssoOIDC = AWSService("oidc", settingName: "SSO_OIDC")
}
