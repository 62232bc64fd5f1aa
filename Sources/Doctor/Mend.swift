import AWS
import Foundation

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
    guard error.attempts.contains(where: { $0.source.contains("instance metadata") }) else { return lines }
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
    case "Timeout":
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
    lines += document(
      #""Principal": {"AWS": "\#(principal)"}"#, action: "sts:AssumeRole",
      condition: hop.externalID.map { #"{"StringEquals": {"sts:ExternalId": "\#($0)"}}"# })
    lines += [
      "", "2. A permission policy of the caller, \(principal), has to allow it (within one account the first is",
    ]
    lines += [
      "   enough if it names the caller's full ARN), and a permissions boundary, if there is one, as well:", "",
    ]
    lines += document(#""Resource": "\#(hop.role)""#, action: "sts:AssumeRole")
    lines += ["", "'teleport db configure bootstrap' does the second. To try it as the caller:", ""]
    lines.append("  aws sts assume-role --role-arn \(hop.role) --role-session-name test-trust-relationship")
    if let externalID = hop.externalID { lines[lines.count - 1] += " --external-id \(externalID)" }
    return lines
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
    let (action, list) =
      switch login.target {
      case .workgroup: ("redshift-serverless:GetCredentials", "redshift-serverless list-workgroups")
      case .cluster:
        (
          login.userIsRole ? "redshift:GetClusterCredentialsWithIAM" : "redshift:GetClusterCredentials",
          "redshift describe-clusters"
        )
      }
    if refusal.code.hasPrefix("AccessDenied") {
      return ["A permission policy of \(principal) has to allow it:", ""]
        + document(#""Resource": "*""#, action: action)
    }
    if refusal.code.contains("NotFound") {
      return [
        "Check the name and the region in the configuration of this database. What there is:", "",
        "  aws \(list) --region \(login.region)",
      ]
    }
    return call(error, region: login.region)
  }

  private static func document(_ subject: String, action: String, condition: String? = nil) -> [String] {
    var lines = ["{", #"  "Version": "2012-10-17","#, #"  "Statement": [{"#, #"    "Effect": "Allow","#]
    lines.append("    \(subject),")
    if let condition { lines.append(#"    "Condition": \#(condition),"#) }
    return lines + [#"    "Action": "\#(action)""#, "  }]", "}"]
  }
}

extension DatabaseLogin {
  fileprivate var userIsRole: Bool { if case .role = user { true } else { false } }
}
