import Foundation
import Secrets
import Synchronization
import Testing

@testable import AWS

/// AWS as a script: counts calls by action and answers as told.
private final class ScriptedAWS: HTTPTransport {
  let calls = Mutex<[String: Int]>([:])
  let answers: Mutex<[String: [HTTPAnswer]]>

  init(_ answers: [String: [HTTPAnswer]] = [:]) { self.answers = Mutex(answers) }

  func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer {
    let target = request.headers.first { $0.name == "X-Amz-Target" }?.value.split(separator: ".").last.map(String.init)
    let action = target ?? (request.method == "POST" ? "AssumeRole" : "IMDS")
    calls.withLock { $0[action, default: 0] += 1 }
    let scripted = answers.withLock { answers -> HTTPAnswer? in
      guard let next = answers[action]?.first else { return nil }
      answers[action]?.removeFirst()
      return next
    }
    try await Task.sleep(for: .milliseconds(20))
    if let scripted { return scripted }
    switch action {
    case "AssumeRole": return Self.ok(Self.session)
    case "GetCredentials": return Self.ok(Self.login(user: "IAMR:access"))
    default: throw AWSError("Timeout", "no answer")
    }
  }

  func count(_ action: String) -> Int { calls.withLock { $0[action] ?? 0 } }

  static func ok(_ text: String) -> HTTPAnswer { HTTPAnswer(status: 200, headers: [:], body: Array(text.utf8)) }
  static func problem(_ status: Int, _ text: String) -> HTTPAnswer {
    HTTPAnswer(status: status, headers: [:], body: Array(text.utf8))
  }
  static func login(user: String, end: TimeInterval = 900) -> String {
    #"{"dbUser":"\#(user)","dbPassword":"p'w\"d","expiration":\#(Date().timeIntervalSince1970 + end)}"#
  }
  static let session = """
    <AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
    <SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>
    """
}

struct AuthenticatorTests {
  private let keys = ["AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret-canary"]

  private func authenticator(_ aws: ScriptedAWS, variables: [String: String]? = nil) -> RedshiftAuthenticator {
    RedshiftAuthenticator(environment: AWSEnvironment(variables: variables ?? keys, transport: aws))
  }

  private func login(_ database: String = "dev") throws -> DatabaseLogin {
    DatabaseLogin(
      target: .workgroup("w"), region: "us-east-1", database: database, assumeRole: nil, externalID: nil,
      user: .role(try RoleARN("arn:aws:iam::123456789012:role/access")))
  }

  @Test func hundredAtOnceCauseOneCall() async throws {
    let aws = ScriptedAWS()
    let authenticator = authenticator(aws)
    let login = try login()
    try await withThrowingTaskGroup(of: String.self) { group in
      for _ in 0..<100 {
        group.addTask { try await authenticator.credentials(for: login, userName: "alice").credentials.user }
      }
      for try await user in group { #expect(user == "IAMR:access") }
    }
    #expect(aws.count("GetCredentials") == 1)
    #expect(aws.count("AssumeRole") == 1)
    _ = try await authenticator.credentials(for: try self.login("other"), userName: "alice")
    #expect(aws.count("GetCredentials") == 2)
  }

  @Test func aRejectedPasswordIsFetchedAnew() async throws {
    let aws = ScriptedAWS()
    let authenticator = authenticator(aws)
    let first = try await authenticator.credentials(for: try login(), userName: "a")
    let again = try await authenticator.credentials(for: try login(), userName: "a")
    #expect(again.isCached)
    #expect(again.credentials.password === first.credentials.password)
    let fresh = try await authenticator.credentials(
      for: try login(), userName: "a", rejected: first.credentials.password)
    #expect(!fresh.isCached)
    #expect(aws.count("GetCredentials") == 2)
  }

  @Test func loginsThatEndAreNotGiven() async throws {
    let short = ScriptedAWS.ok(ScriptedAWS.login(user: "IAMR:access", end: 0.5))
    let aws = ScriptedAWS(["GetCredentials": [short]])
    let authenticator = authenticator(aws)
    _ = try await authenticator.credentials(for: try login(), userName: "a")
    try await Task.sleep(for: .milliseconds(600))
    #expect(try await !authenticator.credentials(for: try login(), userName: "a").isCached)
    #expect(aws.count("GetCredentials") == 2)
  }

  @Test func peopleShareNoSession() async throws {
    let aws = ScriptedAWS()
    let authenticator = authenticator(aws)
    for user in ["alice", "bob", "alice"] { _ = try await authenticator.credentials(for: try login(), userName: user) }
    #expect(aws.count("AssumeRole") == 2)
    #expect(aws.count("GetCredentials") == 2)
  }

  @Test func throttlingIsRetriedThreeTimesInAll() async throws {
    let throttled = ScriptedAWS.problem(400, #"{"__type":"ThrottlingException","message":"Rate exceeded"}"#)
    let recovering = ScriptedAWS(["GetCredentials": [throttled, throttled]])
    _ = try await authenticator(recovering).credentials(for: try login(), userName: "a")
    #expect(recovering.count("GetCredentials") == 3)
    let failing = ScriptedAWS(["GetCredentials": [throttled, throttled, throttled, throttled]])
    await #expect(throws: LoginFailure.self) {
      try await authenticator(failing).credentials(for: try login(), userName: "a")
    }
    #expect(failing.count("GetCredentials") == 3)
  }

  @Test(arguments: [
    ("GetCredentials", #"{"dbUser":"IAMR:other","dbPassword":"p","expiration":9999999999}"#),
    ("GetCredentials", "{<junk"),
    ("AssumeRole", "<a><b></a>"), ("AssumeRole", #"<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>"#), ("AssumeRole", "<a/>"),
  ])
  func answersThatMakeNoSenseAreRefused(action: String, text: String) async throws {
    let aws = ScriptedAWS([action: [ScriptedAWS.ok(text)]])
    await #expect { try await authenticator(aws).credentials(for: try login(), userName: "a") } throws: {
      switch $0 as? LoginFailure {
      case .password(let error) where action == "GetCredentials": error.code == "InvalidResponse"
      case .assumeRole(_, let error) where action == "AssumeRole": error.code == "InvalidResponse"
      default: false
      }
    }
  }

  @Test func refusalNamesPrincipalRoleAndMend() async throws {
    let text = """
      <ErrorResponse><Error><Code>AccessDenied</Code><Message>User: arn:aws:sts::1:assumed-role/x/i-1 is not authorized to \
      perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/access</Message></Error></ErrorResponse>
      """
    let aws = ScriptedAWS(["AssumeRole": [ScriptedAWS.problem(403, text)]])
    await #expect { try await authenticator(aws).credentials(for: try login(), userName: "a") } throws: { error in
      guard case .assumeRole(let role, let error)? = error as? LoginFailure else { return false }
      return role.name == "access" && error.code == "AccessDenied" && error.message.contains("assumed-role/x/i-1")
        && error.mend?.contains("trust policy") == true
    }
  }

  @Test func missingCredentialsNameTheChainAndNoSecret() async throws {
    let variables = ["HOME": "/nonexistent", "AWS_SECRET_ACCESS_KEY": "secret-canary"]
    await #expect {
      try await authenticator(ScriptedAWS(), variables: variables).credentials(for: try login(), userName: "a")
    } throws: {
      guard let failure = $0 as? LoginFailure else { return false }
      // Of this host's files and variables the log tells, not the client.
      let text = failure.details
      return "\(failure)" == "NoCredentialProviders: no valid providers in chain"
        && text.hasPrefix("NoCredentialProviders: no valid providers in chain") && text.contains("instance metadata")
        && text.contains("neither in /nonexistent/.aws/credentials nor in") && !text.contains("canary")
    }
  }
}

struct NamesTests {
  @Test(arguments: [
    ("access", "arn:aws:iam::123456789012:role/access"),
    ("arn:aws:iam::123456789012:role/access", "arn:aws:iam::123456789012:role/access"),
    ("arn:aws:iam::123456789012:role/a/b/access", "arn:aws:iam::123456789012:role/a/b/access"),
  ])
  func databaseUsers(user: String, arn: String) throws {
    let role = try RoleARN.ofDatabaseUser(user, account: "123456789012", region: "eu-west-1")
    #expect(role.description == arn)
    #expect(role.databaseUser == "IAMR:access")
  }

  @Test(arguments: [
    "arn:aws:iam::999999999999:role/access", "arn:aws-cn:iam::123456789012:role/access",
    "arn:aws:iam::12345:role/access",
    "arn:aws:sts::123456789012:assumed-role/access/x", "arn:aws:iam::123456789012:user/access",
    "arn:aws:iam::123456789012:role/",
    "arn:aws:iam:us-east-1:123456789012:role/access", "arn:aws:iam::123456789012:ROLE/access", "bad name", "", "a/b",
    "a:b",
    "arn:aws:iam::123456789012:role/access:x", "arn:evil:iam::123456789012:role/access", "role/access",
  ])
  func confusingNamesAreRefused(user: String) {
    #expect(throws: AWSError.self) { try RoleARN.ofDatabaseUser(user, account: "123456789012", region: "eu-west-1") }
  }

  @Test func spellingsDropNoPath() {
    func spellings(_ user: String) -> Set<String> {
      Set(RoleARN.spellings(ofDatabaseUser: user, account: "123456789012", region: "us-gov-west-1"))
    }
    #expect(spellings("x") == ["x", "arn:aws-us-gov:iam::123456789012:role/x"])
    #expect(spellings("arn:aws-us-gov:iam::123456789012:role/x") == ["x", "arn:aws-us-gov:iam::123456789012:role/x"])
    #expect(spellings("arn:aws-us-gov:iam::123456789012:role/p/x") == ["arn:aws-us-gov:iam::123456789012:role/p/x"])
    #expect(spellings("arn:aws:iam::123456789012:role/x") == ["arn:aws:iam::123456789012:role/x"])
    #expect(RoleARN.name(inDatabaseUser: "arn:aws-us-gov:iam::123456789012:role/p/q/x") == "x")
    #expect(RoleARN.name(inDatabaseUser: "x") == nil)
    #expect(RoleARN.name(inDatabaseUser: "arn:aws:sts::123456789012:assumed-role/x/y") == nil)
  }

  @Test func endpoints() throws {
    let host = "some-workgroup.123456789012.us-west-2.redshift-serverless.amazonaws.com"
    let endpoint = try #require(RedshiftEndpoint(host: host))
    #expect((endpoint.workgroup, endpoint.account, endpoint.region) == ("some-workgroup", "123456789012", "us-west-2"))
    #expect(
      RedshiftEndpoint(host: "w.123456789012.cn-north-1.redshift-serverless.amazonaws.com.cn")?.region
        == "cn-north-1")
    let vpc = "my-endpoint-abc123.123456789012.us-west-2.redshift-serverless.amazonaws.com"
    #expect(RedshiftEndpoint(host: vpc)?.kind == .workgroupVPCEndpoint)
    let cluster = try #require(RedshiftEndpoint(host: "a-cluster.c0ffee123456.us-gov-west-1.redshift.amazonaws.com."))
    #expect((cluster.cluster, cluster.account, cluster.region) == ("a-cluster", nil, "us-gov-west-1"))
    #expect(
      RedshiftEndpoint(host: "x-endpoint-r4nd0m.c0ffee123456.us-east-1.redshift.amazonaws.com")?.kind
        == .clusterVPCEndpoint)
    for other in [
      "db.example.com", "w.1.us-west-2.redshift-serverless.amazonaws.com", host + ".evil.com",
      "w.123456789012.cn-north-1.redshift-serverless.amazonaws.com", "redshift.amazonaws.com",
    ] {
      #expect(RedshiftEndpoint(host: other) == nil)
    }
  }
}
