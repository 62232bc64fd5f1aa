import Foundation

/// Who may assume a role.
public enum TrustPolicy {
  /// Whether a trust policy lets an identity assume the role by naming its ARN: an account that is named leaves the decision
  /// to the policies of its identities.
  ///
  /// - Parameter json: a policy that cannot be read names nobody.
  static func names(_ arn: String, in json: String) -> Bool {
    guard let top = try? JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any] else { return false }
    return JSONValues.list(top["Statement"]).contains { entry in
      guard let entry = entry as? [String: Any], entry["Effect"] as? String == "Allow",
        let actions = JSONValues.strings(entry["Action"]), actions.contains(where: isAssumeRole),
        let principal = entry["Principal"] as? [String: Any]
      else { return false }
      return JSONValues.strings(principal["AWS"])?.contains(arn) ?? false
    }
  }

  private static func isAssumeRole(_ action: String) -> Bool {
    ["sts:assumerole", "sts:*", "*"].contains(action.lowercased())
  }

  /// The trust policy that a role needs to be assumed by `arn`.
  public static func json(trusting arn: String, externalID: String?) -> String {
    let condition = externalID.map { id in
      """
      ,
            "Condition": { "StringEquals": { "sts:ExternalId": \(PolicyDocument.quoted(id)) } }
      """
    }
    return """
      {
        "Version": "2012-10-17",
        "Statement": [
          {
            "Effect": "Allow",
            "Principal": { "AWS": \(PolicyDocument.quoted(arn)) },
            "Action": "sts:AssumeRole"\(condition ?? "")
          }
        ]
      }
      """
  }
}
