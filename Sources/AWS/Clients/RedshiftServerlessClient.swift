import Foundation
import Secrets

/// Redshift Serverless over AWS JSON 1.1 (Amazon Redshift Serverless API Reference).
public struct RedshiftServerlessClient: Sendable {
  private let caller: AWSCaller
  private let region: String
  private let credentials: AWSCredentials

  public init(caller: AWSCaller, region: String, credentials: AWSCredentials) {
    self.caller = caller
    self.region = region
    self.credentials = credentials
  }

  /// A workgroup, as far as it matters here.
  public struct Workgroup: Decodable, Sendable {
    public let workgroupName: String
    public let workgroupArn: String
    /// `AVAILABLE` when it can be connected to.
    public let status: String?
    public let namespaceName: String?
    /// `nil` until it has one.
    public let endpoint: Endpoint?
    public let customDomainName: String?
  }

  /// Where something is dialled.
  public struct Endpoint: Decodable, Sendable {
    public let address: String?
    public let port: Int?
    public let vpcEndpoints: [VPCEndpoint]?
  }

  /// How it is reached within a VPC.
  public struct VPCEndpoint: Decodable, Sendable {
    public let vpcId: String?
  }

  /// An endpoint of a workgroup in another VPC.
  public struct EndpointAccess: Decodable, Sendable {
    public let endpointName: String
    public let endpointArn: String
    public let endpointStatus: String?
    public let workgroupName: String
    public let address: String?
    public let port: Int?
    public let vpcEndpoint: VPCEndpoint?
  }

  /// GetCredentials: a temporary login at a database of a workgroup, for the caller itself.
  public func getCredentials(workgroup: String, database: String) async throws -> DatabaseCredentials {
    struct Input: Encodable {
      let workgroupName: String
      let dbName: String
      let durationSeconds = DatabaseCredentials.duration
    }
    struct Output: Decodable {
      let dbUser: String
      let dbPassword: String
      let expiration: Double
      let nextRefreshTime: Double?
    }
    let output: Output = try await call(
      "GetCredentials", Input(workgroupName: workgroup, dbName: database), on: "workgroup '\(workgroup)'")
    return DatabaseCredentials(
      user: output.dbUser, password: Secret(utf8: output.dbPassword),
      expiration: Date(timeIntervalSince1970: output.expiration),
      nextRefresh: output.nextRefreshTime.map { Date(timeIntervalSince1970: $0) })
  }

  /// GetWorkgroup.
  public func workgroup(_ name: String) async throws -> Workgroup {
    struct Input: Encodable { let workgroupName: String }
    struct Output: Decodable { let workgroup: Workgroup }
    let output: Output = try await call("GetWorkgroup", Input(workgroupName: name), on: "workgroup '\(name)'")
    return output.workgroup
  }

  /// ListWorkgroups, all pages.
  public func workgroups() async throws -> [Workgroup] {
    struct Output: Decodable {
      let workgroups: [Workgroup]
      let nextToken: String?
    }
    return try await AWSCaller.allPages { marker in
      let page: Output = try await call("ListWorkgroups", Page(nextToken: marker), on: "*")
      return (page.workgroups, page.nextToken)
    }
  }

  /// ListEndpointAccess, all pages.
  public func endpoints() async throws -> [EndpointAccess] {
    struct Output: Decodable {
      let endpoints: [EndpointAccess]
      let nextToken: String?
    }
    return try await AWSCaller.allPages { marker in
      let page: Output = try await call("ListEndpointAccess", Page(nextToken: marker), on: "*")
      return (page.endpoints, page.nextToken)
    }
  }

  /// ListTagsForResource.
  public func tags(ofResource arn: String) async throws -> [String: String] {
    struct Input: Encodable { let resourceArn: String }
    struct Output: Decodable { let tags: [AWSTag]? }
    let output: Output = try await call("ListTagsForResource", Input(resourceArn: arn), on: arn)
    return AWSTag.pairs(output.tags ?? [])
  }

  private struct Page: Encodable {
    let nextToken: String?
    let maxResults = 100
  }

  private func call<Output: Decodable>(
    _ action: String, _ input: some Encodable, on resource: String
  ) async throws -> Output {
    do {
      return try await caller.call(.redshiftServerless, action, json: input, region: region, credentials: credentials)
    } catch let error as AWSError where error.code.hasPrefix("AccessDenied") {
      throw error.mended("Allow redshift-serverless:\(action) on \(resource) in the role's permission policy.")
    } catch let error as AWSError where error.code == "ResourceNotFoundException" {
      throw error.mended("Check the name of \(resource) and the region '\(region)' of this database.")
    }
  }
}

/// A tag of a resource.
struct AWSTag: Decodable {
  let key: String
  let value: String

  static func pairs(_ tags: [AWSTag]) -> [String: String] {
    Dictionary(tags.map { ($0.key, $0.value) }) { _, last in last }
  }
}
