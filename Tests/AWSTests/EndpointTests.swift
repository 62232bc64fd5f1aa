import Foundation
import Testing

@testable import AWS

private struct NoTransport: HTTPTransport {
  func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer { throw AWSError("Timeout", "") }
}

/// An environment of these variables only, with that text as its config file.
private func environment(_ variables: [String: String] = [:], config: String? = nil) throws -> AWSEnvironment {
  var variables = variables
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
  variables["HOME"] = folder.path
  if let config {
    try FileManager.default.createDirectory(
      at: folder.appendingPathComponent(".aws"), withIntermediateDirectories: true)
    try config.write(to: folder.appendingPathComponent(".aws/config"), atomically: true, encoding: .utf8)
  }
  defer { try? FileManager.default.removeItem(at: folder) }
  return AWSEnvironment(variables: variables, transport: NoTransport())
}

struct EndpointTests {
  /// As botocore's endpoint rules have it: service, region, FIPS, dual-stack, host.
  @Test(arguments: [
    (AWSService.sts, "eu-west-1", false, false, "sts.eu-west-1.amazonaws.com"),
    (.sts, "eu-west-1", false, true, "sts.eu-west-1.api.aws"),
    (.sts, "eu-west-1", true, false, "sts-fips.eu-west-1.amazonaws.com"),
    (.sts, "eu-west-1", true, true, "sts-fips.eu-west-1.api.aws"),
    (.sts, "cn-north-1", false, false, "sts.cn-north-1.amazonaws.com.cn"),
    (.sts, "cn-north-1", false, true, "sts.cn-north-1.api.amazonwebservices.com.cn"),
    (.sts, "us-gov-west-1", true, false, "sts.us-gov-west-1.amazonaws.com"),
    (.sts, "us-gov-west-1", true, true, "sts-fips.us-gov-west-1.api.aws"),
    (.iam, "eu-west-1", false, false, "iam.amazonaws.com"),
    (.iam, "eu-west-1", false, true, "iam.global.api.aws"),
    (.iam, "us-east-1", true, false, "iam-fips.amazonaws.com"),
    (.iam, "us-east-1", true, true, "iam-fips.global.api.aws"),
    (.iam, "cn-north-1", false, false, "iam.cn-north-1.amazonaws.com.cn"),
    (.iam, "cn-north-1", false, true, "iam.global.api.amazonwebservices.com.cn"),
    (.iam, "us-gov-west-1", false, false, "iam.us-gov.amazonaws.com"),
    (.iam, "us-gov-west-1", true, false, "iam.us-gov.amazonaws.com"),
    (.iam, "us-gov-west-1", true, true, "iam.us-gov.api.aws"),
    (.redshift, "us-east-1", false, false, "redshift.us-east-1.amazonaws.com"),
    (.redshift, "us-east-1", true, true, "redshift-fips.us-east-1.api.aws"),
    (.redshift, "us-gov-west-1", true, false, "redshift.us-gov-west-1.amazonaws.com"),
    (.redshiftServerless, "us-east-1", false, true, "redshift-serverless.us-east-1.api.aws"),
    (.redshiftServerless, "us-gov-west-1", true, false, "redshift-serverless-fips.us-gov-west-1.amazonaws.com"),
    (.redshiftServerless, "cn-north-1", false, false, "redshift-serverless.cn-north-1.amazonaws.com.cn"),
    (.ssoOIDC, "us-east-1", false, false, "oidc.us-east-1.amazonaws.com"),
    (.ssoPortal, "us-east-1", false, false, "portal.sso.us-east-1.amazonaws.com"),
    (.ssoPortal, "us-east-1", true, true, "portal.sso-fips.us-east-1.api.aws"),
  ])
  func hosts(service: AWSService, region: String, isFIPS: Bool, isDual: Bool, host: String) throws {
    let byVariables = try environment([
      "AWS_USE_FIPS_ENDPOINT": "\(isFIPS)", "AWS_USE_DUALSTACK_ENDPOINT": "\(isDual)",
    ])
    #expect(try byVariables.endpoint(of: service, region: region).url.absoluteString == "https://\(host)/")
    let byProfile = try environment(
      config: "[default]\nuse_fips_endpoint = \(isFIPS)\nuse_dualstack_endpoint = \(isDual)\n")
    #expect(try byProfile.endpoint(of: service, region: region).url.host == host)
  }

  @Test func signingRegionOfAGlobalServiceIsThePartitions() throws {
    for (region, signing) in [
      ("eu-west-1", "us-east-1"), ("us-gov-east-1", "us-gov-west-1"), ("cn-north-1", "cn-north-1"),
    ] {
      #expect(try environment().endpoint(of: .iam, region: region).signingRegion == signing)
      #expect(try environment().endpoint(of: .sts, region: region).signingRegion == region)
    }
  }

  @Test func theNearestSettingWins() throws {
    let config = """
      [profile a]
      services = local
      endpoint_url = http://profile:1
      [services local]
      sts =
        endpoint_url = http://section:1
      redshift_serverless =
        endpoint_url = http://section:2
      """
    func host(_ service: AWSService, _ variables: [String: String]) throws -> String {
      try environment(variables.merging(["AWS_PROFILE": "a"]) { old, _ in old }, config: config)
        .endpoint(of: service, region: "us-east-1").url.authority
    }
    #expect(try host(.sts, [:]) == "section:1")
    #expect(try host(.redshiftServerless, [:]) == "section:2")
    #expect(try host(.iam, [:]) == "profile:1")
    #expect(try host(.sts, ["AWS_ENDPOINT_URL": "http://all:1"]) == "all:1")
    #expect(try host(.sts, ["AWS_ENDPOINT_URL": "http://all:1", "AWS_ENDPOINT_URL_STS": "https://one"]) == "one")
    #expect(try host(.iam, ["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"]) == "iam.amazonaws.com")
  }

  @Test(arguments: ["", "us east", "US-EAST-1", "x.evil.com/", "a#b", "../x"])
  func whatIsNoRegionIsRefused(region: String) throws {
    let environment = try environment()
    #expect(throws: AWSError.self) { try environment.endpoint(of: .sts, region: region) }
  }

  @Test(arguments: ["ftp://x", "nothing", "http://"])
  func whatIsNoURLIsRefused(text: String) throws {
    let environment = try environment(["AWS_ENDPOINT_URL_STS": text])
    #expect { try environment.endpoint(of: .sts, region: "us-east-1") } throws: {
      ($0 as? AWSError)?.mend?.contains("AWS_ENDPOINT_URL_STS") == true
    }
  }

  @Test func regions() throws {
    #expect(try environment(["AWS_DEFAULT_REGION": "a", "AWS_REGION": "b"]).region == "b")
    #expect(try environment(["AWS_DEFAULT_REGION": "a"], config: "[default]\nregion = c").region == "a")
    #expect(try environment(config: "[default]\nregion = c").region == "c")
    #expect(try environment().region == nil)
  }

  @Test func attempts() throws {
    #expect(try RetryRules.attempts(environment()) == 3)
    #expect(try RetryRules.attempts(environment(["AWS_MAX_ATTEMPTS": "5"])) == 5)
    #expect(try RetryRules.attempts(environment(config: "[default]\nmax_attempts = 2")) == 2)
    let wrong = try environment(["AWS_MAX_ATTEMPTS": "0"])
    #expect(throws: AWSError.self) { try RetryRules.attempts(wrong) }
  }
}

struct RetryTests {
  @Test func theBucketEndsRetriesAndSuccessesFillIt() {
    let quota = RetryQuota()
    let throttled = AWSError("ThrottlingException", "")
    for _ in 0..<100 { #expect(quota.take(for: throttled, service: .sts) == 5) }
    #expect(quota.take(for: throttled, service: .sts) == nil)
    #expect(quota.take(for: throttled, service: .iam) == 5, "each service has its own")
    quota.succeeded(.sts, taken: 5)
    #expect(quota.take(for: AWSError("Timeout", ""), service: .sts) == nil, "a timeout takes ten")
    #expect(quota.take(for: throttled, service: .sts) == 5)
  }

  @Test func whatIsRetried() {
    for error in [
      AWSError("Throttling", "", status: 400), AWSError("RequestLimitExceeded", "", status: 503),
      AWSError("HTTP 500", "", status: 500), AWSError("Timeout", ""),
      AWSError("IDPCommunicationError", "", status: 400),
    ] {
      #expect(RetryRules.isWorthRetrying(error))
    }
    for error in [
      AWSError("AccessDenied", "", status: 403), AWSError("HTTP 501", "", status: 501), AWSError("InvalidResponse", ""),
    ] {
      #expect(!RetryRules.isWorthRetrying(error))
    }
    for attempt in 1...30 {
      #expect((0...min(20, pow(2, Double(attempt - 1)))).contains(RetryRules.pause(after: attempt)))
    }
  }

  @Test func theClockFollowsAWS() {
    let clock = AWSClock { Date(timeIntervalSince1970: 1_440_938_160) }
    #expect(!clock.learn(httpDate: "Sun, 30 Aug 2015 12:36:30 GMT"), "half a minute is nothing")
    #expect(clock.learn(httpDate: "Sun, 30 Aug 2015 13:36:00 GMT"))
    #expect(clock.now == Date(timeIntervalSince1970: 1_440_941_760))
    #expect(clock.learn(httpDate: "Sun, 30 Aug 2015 12:36:10 GMT"))
    #expect(clock.now == Date(timeIntervalSince1970: 1_440_938_160))
    for text in [nil, "", "yesterday", "Sun, 30 Aug 2015"] { #expect(!clock.learn(httpDate: text)) }
  }

  @Test func pagesEnd() async throws {
    let pages = ["": (1, "x"), "x": (2, "y"), "y": (3, "")]
    let all = try await AWSCaller.allPages { marker in
      let page = try #require(pages[marker ?? ""])
      return ([page.0], page.1)
    }
    #expect(all == [1, 2, 3])
    await #expect(throws: AWSError.self) { try await AWSCaller.allPages { _ in ([1], "same") } }
  }
}

struct ProxyTests {
  private func proxy(_ variables: [String: String], _ url: String) throws -> String? {
    let found = try ProxySettings(variables).proxy(for: try #require(URL(string: url)))
    return found.map { "\($0.user.map { "\($0)@" } ?? "")\($0.host):\($0.port)" }
  }

  @Test func proxiesByScheme() throws {
    let both = ["HTTPS_PROXY": "http://user:word@secure:3128", "http_proxy": "plain:8080"]
    #expect(try proxy(both, "https://sts.us-east-1.amazonaws.com/") == "user@secure:3128")
    #expect(try proxy(both, "http://sts.us-east-1.amazonaws.com/") == "plain:8080")
    #expect(try proxy([:], "https://sts.us-east-1.amazonaws.com/") == nil)
  }

  @Test(arguments: [
    "http://127.0.0.1:4/", "http://localhost/", "http://169.254.169.254/", "http://[::1]/", "http://[fd00:ec2::254]/",
  ])
  func theNeighbourhoodIsReachedDirectly(url: String) throws {
    #expect(try proxy(["HTTP_PROXY": "plain:8080", "HTTPS_PROXY": "plain:8080"], url) == nil)
  }

  @Test(arguments: [
    ("amazonaws.com", true), (".amazonaws.com", true), ("sts.amazonaws.com", true), ("*", true),
    ("a, .amazonaws.com", true),
    ("sts.amazonaws.com:443", false), ("sts.amazonaws.com:8443", true), ("zonaws.com", false), ("example.com", false),
    ("", false),
  ])
  func exceptions(text: String, isDirect: Bool) throws {
    let found = try proxy(["HTTPS_PROXY": "http://p:1", "NO_PROXY": text], "https://sts.amazonaws.com:8443/")
    #expect((found == nil) == isDirect)
  }

  @Test(arguments: ["socks5://p:1", "http://", "https://p:1"])
  func otherProxiesAreRefused(text: String) {
    #expect(throws: AWSError.self) { try proxy(["HTTPS_PROXY": text], "https://sts.amazonaws.com/") }
  }
}
