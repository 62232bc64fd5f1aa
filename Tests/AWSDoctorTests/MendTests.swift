import AWS
import Foundation
import Testing

@testable import AWSDoctor

/// What to do about refusals, as AWS words them.
@Suite struct MendTests {
  private static let role = "arn:aws:iam::123456789012:role/access"
  private static let workgroup = "arn:aws:redshift-serverless:us-east-1:123456789012:workgroup/0e7cee2b"

  private static func refusal(_ why: String) -> AWSError {
    AWSError(
      "AccessDenied",
      "User: arn:aws:iam::123456789012:user/x is not authorized to perform: sts:AssumeRole on resource: \(role) \(why)",
      status: 403)
  }

  private static func documents(in lines: [String]) throws -> [[String: Any]] {
    let starts = lines.indices.filter { lines[$0] == "{" }
    let ends = lines.indices.filter { lines[$0] == "}" }
    return try zip(starts, ends).map { start, end in
      let text = lines[start...end].joined(separator: "\n")
      return try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }
  }

  @Test func theBoundaryIsBlamedWhereAWSBlamesIt() throws {
    let hop = STSClient.RoleSession(role: try RoleARN(Self.role), name: "x")
    func lines(_ why: String) -> [String] {
      Mend.assumeRole(Self.refusal(why), hop, by: "arn:aws:iam::123456789012:user/x", region: "us-east-1")
    }
    let blamed = lines("because no permissions boundary allows the sts:AssumeRole action")
    #expect(blamed.contains { $0.hasPrefix("3. AWS says that it is the permissions boundary") })
    let other = lines("because no identity-based policy allows the sts:AssumeRole action")
    #expect(other.contains { $0.hasPrefix("3. If arn:aws:iam::123456789012:user/x has a permissions boundary") })
    #expect(try Self.documents(in: other).count == 3)
  }

  @Test func documentsAreValidWhateverTheExternalIDIs() throws {
    let hop = STSClient.RoleSession(role: try RoleARN(Self.role), name: "x", externalID: #"a"b\c"#)
    let lines = Mend.assumeRole(Self.refusal(""), hop, by: "arn:aws:iam::123456789012:user/x", region: "us-east-1")
    let statement = try #require((try Self.documents(in: lines).first?["Statement"] as? [[String: Any]])?.first)
    #expect((statement["Condition"] as? [String: [String: String]])?["StringEquals"]?["sts:ExternalId"] == #"a"b\c"#)
    #expect(lines.last?.hasSuffix(#" --external-id 'a"b\c'"#) == true)
  }

  @Test(arguments: [
    ("... on resource: \(workgroup) because no ...", workgroup), ("... on resource: \(workgroup)", workgroup),
    ("... not authorized to perform: redshift-serverless:GetCredentials", nil), ("... on resource: * because", nil),
  ])
  func theResourceIsTheOneThatAWSNames(message: String, resource: String?) {
    #expect(Mend.resource(of: AWSError("AccessDeniedException", message)) == resource)
  }

  @Test(arguments: [
    (DatabaseLogin.Target.workgroup("w"), "redshift-serverless get-workgroup --workgroup-name w"),
    (.cluster("c"), "redshift describe-clusters --cluster-identifier c"),
  ])
  func withoutOneACommandTellsIt(target: DatabaseLogin.Target, command: String) throws {
    let login = DatabaseLogin(
      target: target, region: "us-east-1", database: "dev", assumeRole: nil, externalID: nil,
      user: .role(try RoleARN(Self.role)))
    let lines = Mend.databaseCredentials(AWSError("AccessDenied", "no"), login, by: Self.role)
    #expect(lines.contains { $0.contains(command) })
  }
}
