import Testing

@testable import AWSBootstrap

struct PolicyDocumentTests {
  static let document = PolicyDocument(statements: [
    .init("AssumeRoles", ["sts:AssumeRole"], on: ["b", "a", "b"]), .init("X", ["x:B", "x:A"], on: ["*"]),
  ])

  @Test func textIsTheSameForTheSameNeeds() {
    #expect(
      Self.document.json == """
        {
          "Version": "2012-10-17",
          "Statement": [
            {
              "Sid": "AssumeRoles",
              "Effect": "Allow",
              "Action": "sts:AssumeRole",
              "Resource": [
                "a",
                "b"
              ]
            },
            {
              "Sid": "X",
              "Effect": "Allow",
              "Action": [
                "x:A",
                "x:B"
              ],
              "Resource": "*"
            }
          ]
        }
        """)
  }

  @Test func readsBackWhatItWrites() {
    #expect(PolicyDocument(json: Self.document.json) == Self.document)
    let quoted = PolicyDocument(statements: [.init("A", ["a\"b\\/\n"], on: ["*"])])
    #expect(PolicyDocument(json: quoted.json) == quoted)
  }

  @Test(arguments: [
    "", "[]", "{}", "{\"Version\": \"2012-10-17\"",
    #"{"Version": "2008-10-17", "Statement": []}"#,
    #"{"Version": "2012-10-17", "Id": "x", "Statement": []}"#,
    #"{"Version": "2012-10-17", "Statement": [1]}"#,
    #"{"Version": "2012-10-17", "Statement": [{"Sid": "A", "Effect": "Deny", "Action": "a", "Resource": "*"}]}"#,
    #"{"Version": "2012-10-17", "Statement": [{"Sid": "A", "Effect": "Allow", "Action": [1], "Resource": "*"}]}"#,
    #"{"Version": "2012-10-17", "Statement": [{"Sid": "A", "Effect": "Allow", "Action": "a", "Resource": "*", "Condition": {}}]}"#,
  ])
  func doesNotTakeOtherPoliciesForItsOwn(_ json: String) { #expect(PolicyDocument(json: json) == nil) }

  @Test(arguments: [
    (#"{"Effect": "Allow", "Principal": {"AWS": "ARN"}, "Action": "sts:AssumeRole"}"#, true),
    (
      #"[{"Effect": "Allow", "Principal": {"AWS": ["other", "ARN"]}, "Action": ["sts:TagSession", "sts:AssumeRole"]}]"#,
      true
    ),
    (#"{"Effect": "Allow", "Principal": {"AWS": "ARN", "Service": "ec2.amazonaws.com"}, "Action": "sts:*"}"#, true),
    (#"{"Effect": "Deny", "Principal": {"AWS": "ARN"}, "Action": "sts:AssumeRole"}"#, false),
    (#"{"Effect": "Allow", "Principal": {"AWS": "ARN2"}, "Action": "sts:AssumeRole"}"#, false),
    (#"{"Effect": "Allow", "Principal": {"Service": "ARN"}, "Action": "sts:AssumeRole"}"#, false),
    (#"{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}"#, false),
    (#"{"Effect": "Allow", "Principal": {"AWS": "ARN"}, "Action": "sts:AssumeRoleWithSAML"}"#, false),
  ])
  func trust(_ statement: String, _ expected: Bool) {
    #expect(TrustPolicy.names("ARN", in: #"{"Version": "2012-10-17", "Statement": \#(statement)}"#) == expected)
  }

  @Test func whatATrustPolicyIsToSayNamesTheTarget() {
    let arn = "arn:aws:iam::123456789012:role/a"
    #expect(TrustPolicy.names(arn, in: TrustPolicy.json(trusting: arn, externalID: nil)))
    #expect(TrustPolicy.names(arn, in: TrustPolicy.json(trusting: arn, externalID: "quote\"")))
  }
}
