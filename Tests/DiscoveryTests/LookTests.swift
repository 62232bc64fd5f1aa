import ConfigurationFile
import ControlAPI
import Foundation
import Logging
import Synchronization
import Testing

@testable import AWS
@testable import Discovery

/// AWS as workgroups by region; a region without an entry refuses.
private final class FakeAWS: HTTPTransport {
  let regions = Mutex<[String: [String]]>([:])

  func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer {
    let region = request.url.host?.split(separator: ".").dropFirst().first.map(String.init) ?? ""
    let action = request.headers.first { $0.name == "X-Amz-Target" }?.value.split(separator: ".").last
    guard let names = regions.withLock({ $0[region] }) else {
      return HTTPAnswer(status: 400, headers: [:], body: Array(#"{"__type":"AccessDeniedException"}"#.utf8))
    }
    let workgroups = names.map {
      """
      {"workgroupName":"\($0)","workgroupArn":"arn:aws:redshift-serverless:\(region):123456789012:workgroup/\($0)",
       "endpoint":{"address":"\($0).example.com","port":5439}}
      """
    }
    let answers: [Substring: String] = [
      "ListWorkgroups": "{\"workgroups\":[\(workgroups.joined(separator: ","))]}",
      "ListEndpointAccess": #"{"endpoints":[]}"#,
      "ListTagsForResource": #"{"tags":[]}"#,
    ]
    return HTTPAnswer(status: 200, headers: [:], body: Array((answers[action ?? ""] ?? "").utf8))
  }
}

struct LookTests {
  private func discovery(_ aws: FakeAWS, regions: String = "[us-east-1, eu-west-1]") throws -> AWSDiscovery {
    let keys = ["AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", "HOME": "/nonexistent"]
    return AWSDiscovery(
      try settings(regions), environment: AWSEnvironment(variables: keys, transport: aws))
  }

  private func settings(_ regions: String) throws -> AWSDiscovery.Settings {
    let configuration = try TeleportConfiguration(
      yaml: "db_service: {aws: [{types: [redshift-serverless], regions: \(regions)}]}", file: "t.yaml")
    return try AWSDiscovery.Settings(configuration.awsMatchers, interval: configuration.pollInterval)
  }

  private func names(_ findings: Findings) -> [String] {
    findings.databases.compactMap { $0.metadata.labels?["teleport.internal/discovered-name"] }.sorted()
  }

  @Test func whatARegionHasToldStaysWhileItFails() async throws {
    let aws = FakeAWS()
    let discovery = try discovery(aws)
    aws.regions.withLock { $0 = ["us-east-1": ["a"], "eu-west-1": ["b", "c"]] }
    let whole = await discovery.look()
    #expect(names(whole) == ["a", "b", "c"] && whole.failures.isEmpty)
    aws.regions.withLock { $0 = ["us-east-1": ["d"]] }
    let partial = await discovery.look()
    #expect(names(partial) == ["b", "c", "d"])
    #expect(partial.failures.map(\.place) == ["eu-west-1"])
    aws.regions.withLock { $0 = ["us-east-1": ["d"], "eu-west-1": []] }
    #expect(names(await discovery.look()) == ["d"])
    // Nobody looks there any more: nothing is kept.
    aws.regions.withLock { $0 = ["us-east-1": ["d"], "eu-west-1": ["e"]] }
    await discovery.use(try settings("[eu-west-1]"))
    #expect(names(await discovery.look()) == ["e"])
  }

  @Test func ofARegionThatNeverAnsweredNothingIsSaidToBeGone() async throws {
    let aws = FakeAWS()
    let discovery = try discovery(aws)
    aws.regions.withLock { $0 = ["us-east-1": ["a"], "eu-west-1": ["b"]] }
    let all = await discovery.look().databases
    let restarted = try self.discovery(aws)
    aws.regions.withLock { $0 = ["us-east-1": []] }
    let findings = await restarted.look()
    #expect(findings.databases.isEmpty)
    #expect(all.map { findings.mayStillBeThere($0) } == all.map { $0.spec.aws?.region == "eu-west-1" })
    // Of another role's eyes nothing is known at all, and nobody asks.
    var foreign = try #require(all.first)
    foreign.spec.aws?.assumeRoleARN = "arn:aws:iam::123456789012:role/x"
    #expect(!findings.mayStillBeThere(foreign))
    #expect(!findings.mayStillBeThere(DatabaseResource(name: "x", spec: .init(uri: "h:1"))))
  }

  @Test func aFailingPlaceIsSpokenOfOnceInTenMinutes() {
    let lines = Mutex<[String]>([])
    let logger = Logger(label: "test") { _ in LineHandler { line in lines.withLock { $0.append(line) } } }
    var log = FailureLog()
    let place = Place(region: "us-east-1", role: nil, externalID: nil)
    func note(_ code: String?, at uptime: TimeInterval) -> Int {
      log.note(code.map { AWSError($0, "m") }, at: place, kept: 2, uptime: uptime, logger)
      return lines.withLock { $0.count }
    }
    let first = [note(nil, at: 0), note("A", at: 1), note("B", at: 2), note("A", at: 600)]
    #expect(first == [0, 1, 1, 1])
    let later = [note("A", at: 602), note(nil, at: 603), note(nil, at: 604), note("A", at: 605)]
    #expect(later == [2, 3, 3, 4])
    #expect(lines.withLock { $0[0] } == "looking for databases in us-east-1 failed; the 2 known there stay: A: m")
  }
}

private struct LineHandler: LogHandler {
  let write: @Sendable (String) -> Void
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.trace

  init(_ write: @escaping @Sendable (String) -> Void) { self.write = write }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) { write("\(event.message)") }
}
