import Foundation
import Glibc
import Secrets
import Synchronization
import Testing

@testable import AWS

/// AWS that takes `delay` seconds over every answer, or the time limit if that is shorter; may hang over the first.
private final class SlowAWS: HTTPTransport {
  let delay: TimeInterval
  let hangsFirst: Bool
  let timeouts = Mutex<[TimeInterval]>([])

  init(delay: TimeInterval, hangsFirst: Bool = false) {
    self.delay = delay
    self.hangsFirst = hangsFirst
  }

  func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer {
    let number = timeouts.withLock {
      $0.append(timeout)
      return $0.count
    }
    if hangsFirst, number == 1 {
      // Heeds neither the limit nor cancellation.
      for _ in 0..<40 { await Task.detached { try? await Task.sleep(for: .milliseconds(100)) }.value }
    }
    try await Task.sleep(for: .seconds(min(delay, timeout)))
    guard delay <= timeout else { throw AWSError("Timeout", "no answer") }
    let isLogin = request.headers.contains { $0.name == "X-Amz-Target" }
    let end = Date().timeIntervalSince1970 + 900
    let text =
      isLogin
      ? #"{"dbUser":"IAMR:access","dbPassword":"p","expiration":\#(end)}"#
      : """
      <R><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
      <Expiration>2099-01-01T00:00:00Z</Expiration></R>
      """
    return HTTPAnswer(status: 200, headers: [:], body: Array(text.utf8))
  }
}

private func authenticator(
  _ aws: SlowAWS, budget: TimeInterval = 10, maximumEntries: Int = 100
) -> RedshiftServerlessAuthenticator {
  RedshiftServerlessAuthenticator(
    environment: AWSEnvironment(
      variables: ["AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"], transport: aws, callBudget: budget),
    maximumEntries: maximumEntries)
}

private func login(_ database: String = "dev", chained: Bool = false) throws -> DatabaseLogin {
  DatabaseLogin(
    workgroup: "w", region: "us-east-1", database: database,
    assumeRole: chained ? try RoleARN("arn:aws:iam::123456789012:role/middle") : nil, externalID: nil,
    userRole: try RoleARN("arn:aws:iam::123456789012:role/access"))
}

struct DeadlineTests {
  @Test func aChainOfCallsSharesOneBudget() async throws {
    let aws = SlowAWS(delay: 0.4)
    let start = ContinuousClock.now
    await #expect {
      try await authenticator(aws, budget: 1).credentials(for: login(chained: true), sessionName: "a")
    } throws: { ($0 as? AWSError)?.code == "Timeout" }
    #expect(ContinuousClock.now - start < .seconds(2))
    let timeouts = aws.timeouts.withLock { $0 }
    #expect(timeouts.count == 3)
    #expect(try #require(timeouts.last) <= 0.2)
    _ = try await authenticator(SlowAWS(delay: 0.1), budget: 1).credentials(for: login(chained: true), sessionName: "a")
  }

  @Test func aCallThatHangsHoldsUpNobodyForEver() async throws {
    let aws = SlowAWS(delay: 0, hangsFirst: true)
    let authenticator = authenticator(aws, budget: 0.3)
    let wanted = try login()
    let hanging = Task { try await authenticator.credentials(for: wanted, sessionName: "a") }
    try await Task.sleep(for: .seconds(1))
    let start = ContinuousClock.now
    let later = try await authenticator.credentials(for: wanted, sessionName: "a")
    #expect(!later.isCached)
    #expect(ContinuousClock.now - start < .seconds(1))
    // What the hanging call comes to in the end does not take the place of the good login.
    _ = await hanging.result
    #expect(try await authenticator.credentials(for: wanted, sessionName: "a").isCached)
  }

  @Test func anEntryEvictedWhileUnderwayCanBeEvictedAgain() async throws {
    let authenticator = authenticator(SlowAWS(delay: 0.1), maximumEntries: 1)
    let (first, second, third) = (try login("a"), try login("b"), try login("c"))
    async let one = authenticator.credentials(for: first, sessionName: "a")
    try await Task.sleep(for: .milliseconds(50))
    async let two = authenticator.credentials(for: second, sessionName: "a")
    _ = try await (one, two)
    _ = try await authenticator.credentials(for: third, sessionName: "a")
    #expect(try await authenticator.credentials(for: third, sessionName: "a").isCached)
    #expect(try await !authenticator.credentials(for: first, sessionName: "a").isCached)
  }

  @Test func theTimeLimitCoversTheBody() async throws {
    // A server that sends the head of an answer and the beginning of its body, then nothing.
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(listener) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, size) == 0 && listen(listener, 1) == 0 && getsockname(listener, $0, &size) == 0
      }
    }
    try #require(bound)
    Thread {
      let connection = accept(listener, nil, nil)
      let head = Array("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx".utf8)
      _ = head.withUnsafeBytes { write(connection, $0.baseAddress, $0.count) }
      sleep(5)
      close(connection)
    }.start()

    let url = try #require(URL(string: "http://127.0.0.1:\(UInt16(bigEndian: address.sin_port))/"))
    let transport = NetworkTransport()
    let start = ContinuousClock.now
    await #expect {
      try await transport.send(AWSRequest(method: "GET", url: url, headers: [], body: []), timeout: 0.5)
    } throws: {
      ($0 as? AWSError)?.code == "Timeout"
    }
    #expect(ContinuousClock.now - start < .seconds(2))
    try await transport.shutDown()
  }
}
