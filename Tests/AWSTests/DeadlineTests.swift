import Foundation
import Glibc
import Secrets
import Synchronization
import Testing

@testable import AWS

/// AWS on a clock of the test's own: each answer takes `delay` seconds of it, or the time limit if that is shorter.
private final class SlowAWS: HTTPTransport {
  let clock = Mutex<TimeInterval>(1000)
  let timeouts = Mutex<[TimeInterval]>([])
  private let delay: TimeInterval
  private let hold: Gate?

  /// - Parameter hold: keeps the first answer back, whatever its limit and whoever cancels it.
  init(delay: TimeInterval, hold: Gate? = nil) {
    self.delay = delay
    self.hold = hold
  }

  func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer {
    let number = timeouts.withLock {
      $0.append(timeout)
      return $0.count
    }
    if number == 1 { await hold?.pass() }
    clock.withLock { $0 += min(delay, timeout) }
    guard delay <= timeout else { throw AWSError("Timeout", "no answer") }
    let isLogin = request.headers.contains { $0.name == "X-Amz-Target" }
    let end = Date().timeIntervalSince1970 + 900
    let text =
      isLogin
      ? #"{"dbUser":"IAMR:access","dbPassword":"p","expiration":\#(end)}"#
      : """
      <R><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
      <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></R>
      """
    return HTTPAnswer(status: 200, headers: [:], body: Array(text.utf8))
  }

  func authenticator(maximumEntries: Int = 100) -> RedshiftAuthenticator {
    RedshiftAuthenticator(
      environment: AWSEnvironment(
        variables: ["AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"], transport: self,
        uptime: { self.clock.withLock { $0 } }), maximumEntries: maximumEntries)
  }
}

/// Closed until it is opened; tells when somebody stands before it.
private final class Gate: Sendable {
  private let opened = AsyncStream<Void>.makeStream()
  private let reached = AsyncStream<Void>.makeStream()

  func pass() async {
    reached.continuation.finish()
    // A detached task: cancelling the one that waits does not open the gate.
    await Task.detached { [opened] in for await _ in opened.stream {} }.value
  }

  func waitUntilReached() async { for await _ in reached.stream {} }
  func open() { opened.continuation.finish() }
}

private func login(_ database: String = "dev", chained: Bool = false) throws -> DatabaseLogin {
  DatabaseLogin(
    target: .workgroup("w"), region: "us-east-1", database: database,
    assumeRole: chained ? try RoleARN("arn:aws:iam::123456789012:role/middle") : nil, externalID: nil,
    user: .role(try RoleARN("arn:aws:iam::123456789012:role/access")))
}

struct DeadlineTests {
  @Test func aChainOfCallsSharesOneBudget() async throws {
    let slow = SlowAWS(delay: 4)
    await #expect { try await slow.authenticator().credentials(for: login(chained: true), userName: "a") } throws: {
      if case .password(let error)? = $0 as? LoginFailure { error.code == "Timeout" } else { false }
    }
    // Four seconds each for two hops; then the last call has what is left of ten, and nothing is left to try again.
    #expect(slow.timeouts.withLock { $0 } == [5, 5, 2])
    #expect(slow.clock.withLock { $0 } == 1010)
    let quicker = SlowAWS(delay: 3)
    _ = try await quicker.authenticator().credentials(for: login(chained: true), userName: "a")
    #expect(quicker.timeouts.withLock { $0 } == [5, 5, 4])
  }

  @Test func triesOfOneCallShareItToo() async throws {
    let silent = SlowAWS(delay: 60)
    await #expect(throws: LoginFailure.self) {
      try await silent.authenticator().credentials(for: login(chained: true), userName: "a")
    }
    #expect(silent.timeouts.withLock { $0 } == [5, 5])
  }

  @Test func aCallThatHangsHoldsUpNobodyForEver() async throws {
    let gate = Gate()
    let aws = SlowAWS(delay: 0, hold: gate)
    let authenticator = aws.authenticator()
    let wanted = try login()
    let hanging = Task { try await authenticator.credentials(for: wanted, userName: "a") }
    await gate.waitUntilReached()
    aws.clock.withLock { $0 += 20 }
    #expect(try await !authenticator.credentials(for: wanted, userName: "a").isCached)
    // What the hanging call comes to in the end does not take the place of the good login.
    gate.open()
    _ = await hanging.result
    #expect(try await authenticator.credentials(for: wanted, userName: "a").isCached)
  }

  @Test func anEntryEvictedWhileUnderwayCanBeEvictedAgain() async throws {
    let gate = Gate()
    let authenticator = SlowAWS(delay: 0, hold: gate).authenticator(maximumEntries: 1)
    let (first, second, third) = (try login("a"), try login("b"), try login("c"))
    // Another person: else the others would wait for the same role.
    let underway = Task { try await authenticator.credentials(for: first, userName: "b") }
    await gate.waitUntilReached()
    _ = try await authenticator.credentials(for: second, userName: "a")
    gate.open()
    _ = try await underway.value
    _ = try await authenticator.credentials(for: third, userName: "a")
    #expect(try await authenticator.credentials(for: third, userName: "a").isCached)
    #expect(try await !authenticator.credentials(for: first, userName: "b").isCached)
  }

  @Test(.timeLimit(.minutes(1))) func theTimeLimitCoversTheBody() async throws {
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
      // Until the client has given up.
      var byte: UInt8 = 0
      while read(connection, &byte, 1) > 0 {}
      close(connection)
    }.start()

    let url = try #require(URL(string: "http://127.0.0.1:\(UInt16(bigEndian: address.sin_port))/"))
    let transport = NetworkTransport()
    // Long enough for the head to arrive on a busy machine too.
    await #expect {
      try await transport.send(AWSRequest(method: "GET", url: url, headers: [], body: []), timeout: 5)
    } throws: {
      ($0 as? AWSError)?.message.contains("no complete answer") == true
    }
    try await transport.shutDown()
  }
}
