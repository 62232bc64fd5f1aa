import AWS
import AWSBootstrap
import Foundation
import TextForms

/// What to do about each failure of AWS's half: lines to read, commands to run, policies to paste.
enum Mend {
  // MARK: Credentials

  static func credentials(_ error: CredentialsError) -> [String] {
    var lines = ["These were asked, in this order:"]
    lines += error.attempts.map { "- \($0.source): \($0.reason)" }
    lines += [
      "", "Give this host an instance profile, a task role or a service account's role, or set AWS_ACCESS_KEY_ID and",
      "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for the service ('/etc/default/teleport' with systemd).",
    ]
    guard error.attempts.contains(where: \.isSilent) else { return lines }
    return lines + [
      "", "In a container on EC2 (EKS among them) the metadata service may be one hop too far: raise its limit.", "",
      "  aws ec2 modify-instance-metadata-options --instance-id INSTANCE_ID --http-put-response-hop-limit 2",
    ]
  }

  /// A call that failed for reasons that have nothing to do with permissions, and any other.
  static func call(_ error: any Error, region: String) -> [String] {
    guard let error = error as? AWSError else { return [] }
    switch error.code {
    case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException":
      return ["The credentials are not valid, or not any more: renew them at the source that is named above."]
    case "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired", "InvalidSignatureException":
      return [
        "Compare this host's clock with the time ('date -u'); if it is right, the secret key is not the one of this key."
      ]
    case "Throttling", "ThrottlingException", "RequestLimitExceeded":
      return ["AWS limits the calls of this account at the moment: try again later."]
    case "Timeout", "Unreachable":
      let service = error.call?.service ?? "sts"
      return [
        "This host cannot reach AWS's \(service) in \(region): check DNS, routes and security groups, the proxy in",
        "HTTPS_PROXY, or make a VPC endpoint for com.amazonaws.\(region).\(service).",
      ]
    default: return error.mend.map { [$0] } ?? []
    }
  }

  // MARK: Roles

  static func assumeRole(
    _ error: any Error, _ hop: STSClient.RoleSession, by principal: String, region: String
  ) -> [String] {
    guard let refusal = error as? AWSError, refusal.code == "AccessDenied" else { return call(error, region: region) }
    var lines = ["1. The trust policy of \(hop.role) has to name the caller:", ""]
    lines += text(TrustPolicy.json(trusting: principal, externalID: hop.externalID))
    lines += [
      "", "2. A permission policy of the caller, \(principal), has to allow it (within one account the first is",
      "   enough if it names the caller's full ARN):", "",
    ]
    lines += allowing("AssumeRole", "sts:AssumeRole", on: hop.role.description)
    lines += boundary(of: principal, refusal, "3. ", allowing("AssumeRoles", "sts:AssumeRole", on: "*"))
    lines += ["", "'teleport db configure bootstrap' does the second and the third. To try it as the caller:", ""]
    let externalID = hop.externalID.map { " --external-id \(ShellWord.quoted($0))" } ?? ""
    lines.append(
      "  aws sts assume-role --role-arn \(ShellWord.quoted(hop.role.description)) --role-session-name "
        + "test-trust-relationship\(externalID)")
    return lines
  }

  /// A boundary takes away what it does not allow, whatever the policies give.
  ///
  /// - Parameter statement: the document that the boundary has to contain.
  private static func boundary(
    of principal: String, _ refusal: AWSError, _ number: String, _ statement: [String]
  ) -> [String] {
    let isBlamed = refusal.message.contains("no permissions boundary allows")
    return [
      "",
      isBlamed
        ? "\(number)AWS says that it is the permissions boundary of \(principal) that does not allow it. It has to:"
        : "\(number)If \(principal) has a permissions boundary, that may be what denies it. It has to allow it too:",
      "",
    ] + statement
  }

  /// Whom a trust policy has to name: for a session of a role that role.
  static func principal(_ arn: String) -> String {
    let parts = arn.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 6, parts[2] == "sts", parts[5].hasPrefix("assumed-role/") else { return arn }
    let names = parts[5].split(separator: "/")
    guard names.count >= 3 else { return arn }
    // A session's ARN does not tell the path of its role.
    return "arn:\(parts[1]):iam::\(parts[4]):role/\(names[1])"
  }

  // MARK: Password

  static func databaseCredentials(_ error: any Error, _ login: DatabaseLogin, by principal: String) -> [String] {
    guard let refusal = error as? AWSError else { return [] }
    let target = Target(login)
    if refusal.code.hasPrefix("AccessDenied") {
      let resource = resource(of: refusal)
      var lines = ["A permission policy of \(principal) has to allow it:", ""]
      lines += allowing("LogIn", target.action, on: resource ?? "*")
      if resource == nil {
        lines += ["", "\(target.narrower) in place of '*' narrows it to this database:", "", "  \(target.lookUp)"]
      }
      return lines + boundary(of: principal, refusal, "", allowing("LogIn", target.action, on: "*"))
    }
    if refusal.code.contains("NotFound") {
      return [
        "Check the name and the region in the configuration of this database. What there is:", "", "  \(target.list)",
      ]
    }
    return call(error, region: login.region)
  }

  /// The words for a kind of database.
  private struct Target {
    let action: String
    /// What a policy may name.
    let narrower: String
    /// The command that shows it.
    let lookUp: String
    /// The command that shows all there are.
    let list: String

    init(_ login: DatabaseLogin) {
      let region = "--region \(ShellWord.quoted(login.region))"
      switch login.target {
      case .workgroup(let name):
        action = "redshift-serverless:GetCredentials"
        narrower = "The ARN of the workgroup, which ends in its ID,"
        lookUp =
          "aws redshift-serverless get-workgroup --workgroup-name \(ShellWord.quoted(name)) --query workgroup.workgroupArn "
          + region
        list = "aws redshift-serverless list-workgroups \(region)"
      case .cluster(let name):
        if case .role = login.user {
          action = "redshift:GetClusterCredentialsWithIAM"
          narrower = "The ARN of the database name, arn:aws:redshift:REGION:ACCOUNT:dbname:CLUSTER/NAME,"
        } else {
          action = "redshift:GetClusterCredentials"
          narrower = "The ARNs arn:aws:redshift:REGION:ACCOUNT:dbuser:CLUSTER/USER and ...:dbname:CLUSTER/NAME"
        }
        lookUp = "aws redshift describe-clusters --cluster-identifier \(ShellWord.quoted(name)) \(region)"
        list = "aws redshift describe-clusters \(region)"
      }
    }
  }

  /// The ARN that AWS was asked about, as its refusal names it: of a workgroup it has an ID that nothing else tells.
  static func resource(of refusal: AWSError) -> String? {
    guard let range = refusal.message.range(of: " on resource: ") else { return nil }
    let arn = refusal.message[range.upperBound...].prefix { !$0.isWhitespace && $0 != "," }
    return arn.hasPrefix("arn:") ? String(arn) : nil
  }

  // MARK: Documents

  private static func allowing(_ id: String, _ action: String, on resource: String) -> [String] {
    text(PolicyDocument(statements: [.init(id, [action], on: [resource])]).json)
  }

  private static func text(_ document: String) -> [String] {
    document.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }
}
