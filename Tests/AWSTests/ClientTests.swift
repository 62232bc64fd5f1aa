import Foundation
import Secrets
import Synchronization
import Testing

@testable import AWS

/// AWS as a list of answers, each given once; keeps what was asked.
private final class AnswerList: HTTPTransport {
  let requests = Mutex<[AWSRequest]>([])
  private let answers: Mutex<[HTTPAnswer]>

  init(_ texts: String..., status: Int = 200, headers: [String: String] = [:]) {
    answers = Mutex(texts.map { HTTPAnswer(status: status, headers: headers, body: Array($0.utf8)) })
  }

  func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer {
    requests.withLock { $0.append(request) }
    guard let answer = answers.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else {
      throw AWSError("InvalidResponse", "nothing is left to answer")
    }
    return answer
  }

  var bodies: [String] { requests.withLock { $0.map { String(decoding: $0.body, as: UTF8.self) } } }
  func header(_ name: String) -> String? {
    requests.withLock { $0.first?.headers.first { $0.name == name }?.value }
  }
  var caller: AWSCaller { AWSCaller(environment: AWSEnvironment(variables: ["HOME": "/nonexistent"], transport: self)) }
}

private let credentials = AWSCredentials(
  accessKeyID: "AKIA", secretAccessKey: Secret(utf8: "s"), sessionToken: Secret(utf8: "t"), expiration: nil)

struct ClientTests {
  private func serverless(_ aws: AnswerList) -> RedshiftServerlessClient {
    RedshiftServerlessClient(caller: aws.caller, region: "us-east-1", credentials: credentials)
  }

  @Test func workgroupsComeInPages() async throws {
    let aws = AnswerList(
      #"{"workgroups":[{"workgroupName":"a","workgroupArn":"arn:a","status":"AVAILABLE","endpoint":{"address":"h","port":5439}}],"nextToken":"n"}"#,
      #"{"workgroups":[{"workgroupName":"b","workgroupArn":"arn:b","customDomainName":"b.example.com"}]}"#)
    let found = try await serverless(aws).workgroups()
    #expect(found.map(\.workgroupName) == ["a", "b"])
    #expect(found[0].endpoint?.port == 5439)
    #expect(found[1].customDomainName == "b.example.com")
    #expect(aws.bodies.map { $0.contains(#""nextToken":"n""#) } == [false, true])
    #expect(aws.header("X-Amz-Target") == "RedshiftServerless.ListWorkgroups")
  }

  @Test func endpointsWorkgroupsAndTags() async throws {
    let endpoints = AnswerList(
      #"{"endpoints":[{"endpointName":"e","endpointArn":"arn:e","workgroupName":"a","address":"h","port":1}]}"#)
    #expect(try await serverless(endpoints).endpoints().first?.workgroupName == "a")
    let workgroup = AnswerList(#"{"workgroup":{"workgroupName":"a","workgroupArn":"arn:a","namespaceName":"n"}}"#)
    #expect(try await serverless(workgroup).workgroup("a").namespaceName == "n")
    #expect(workgroup.bodies == [#"{"workgroupName":"a"}"#])
    let tags = AnswerList(#"{"tags":[{"key":"env","value":"dev"},{"key":"team","value":""}]}"#)
    #expect(try await serverless(tags).tags(ofResource: "arn:a") == ["env": "dev", "team": ""])
  }

  @Test func clustersComeInPages() async throws {
    func page(_ name: String, _ marker: String) -> String {
      """
      <r:DescribeClustersResponse xmlns:r="http://redshift.amazonaws.com/doc/2012-12-01/"><r:DescribeClustersResult>\(marker)
      <r:Clusters><r:Cluster><r:ClusterIdentifier>\(name)</r:ClusterIdentifier><r:ClusterStatus>available</r:ClusterStatus>
      <r:ClusterAvailabilityStatus>Modifying</r:ClusterAvailabilityStatus><r:VpcId>vpc-1</r:VpcId>
      <r:ClusterNamespaceArn>arn:n</r:ClusterNamespaceArn>
      <r:Endpoint><r:Address>h</r:Address><r:Port>5439</r:Port></r:Endpoint><r:DBName>dev</r:DBName>
      <r:Tags><r:Tag><r:Key>env</r:Key><r:Value>dev</r:Value></r:Tag></r:Tags></r:Cluster></r:Clusters>
      </r:DescribeClustersResult></r:DescribeClustersResponse>
      """
    }
    let aws = AnswerList(page("a", "<r:Marker>m &amp; n</r:Marker>"), page("b", ""))
    let client = RedshiftClient(caller: aws.caller, region: "us-east-1", credentials: credentials)
    let found = try await client.clusters()
    #expect(found.map(\.identifier) == ["a", "b"])
    #expect((found[0].address, found[0].port, found[0].databaseName) == ("h", 5439, "dev"))
    #expect(found[0].tags == ["env": "dev"])
    #expect((found[0].availability, found[0].vpcID, found[0].namespaceARN) == ("Modifying", "vpc-1", "arn:n"))
    #expect(
      aws.bodies == [
        "Action=DescribeClusters&Version=2012-12-01&MaxRecords=20",
        "Action=DescribeClusters&Version=2012-12-01&MaxRecords=20&Marker=m%20%26%20n",
      ])
    #expect(aws.header("Content-Type") == "application/x-www-form-urlencoded; charset=utf-8")
  }

  @Test func whatDoesNotEndOrCannotBeReadIsAnError() async throws {
    let endless = AnswerList(#"{"workgroups":[],"nextToken":"n"}"#, #"{"workgroups":[],"nextToken":"n"}"#)
    await #expect { try await serverless(endless).workgroups() } throws: {
      ($0 as? AWSError)?.code == "InvalidResponse"
    }
    await #expect(throws: AWSError.self) { try await serverless(AnswerList("{}")).workgroups() }
    let deep = AnswerList(String(repeating: "<a>", count: 40) + String(repeating: "</a>", count: 40))
    await #expect(throws: AWSError.self) {
      try await STSClient(caller: deep.caller, region: "us-east-1").callerIdentity(credentials)
    }
  }

  @Test func errorsNameTheCall() async throws {
    let text =
      "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
    let sts = AnswerList(text, status: 403)
    await #expect { try await STSClient(caller: sts.caller, region: "eu-west-1").callerIdentity(credentials) } throws: {
      guard let error = $0 as? AWSError else { return false }
      return error.call
        == AWSError.Call(
          service: "sts", operation: "GetCallerIdentity", endpoint: "sts.eu-west-1.amazonaws.com", requestID: "r-1")
        && error.details
          == "AccessDenied: no (sts GetCallerIdentity at sts.eu-west-1.amazonaws.com, status code 403, request id r-1)"
    }
    let json = AnswerList(
      #"{"message":"gone"}"#, status: 400,
      headers: ["x-amzn-requestid": "r-2", "x-amzn-errortype": "ResourceNotFoundException:http://x"])
    await #expect { try await serverless(json).workgroup("a") } throws: {
      guard let error = $0 as? AWSError else { return false }
      return error.code == "ResourceNotFoundException" && error.call?.requestID == "r-2"
        && error.mend?.contains("workgroup 'a'") == true
    }
    let internalError = AnswerList("<html>", "<html>", "<html>", status: 503)
    await #expect {
      try await STSClient(caller: internalError.caller, region: "eu-west-1").callerIdentity(credentials)
    } throws: {
      ($0 as? AWSError)?.code == "HTTP 503"
    }
    #expect(internalError.bodies.count == 3)
  }
}
