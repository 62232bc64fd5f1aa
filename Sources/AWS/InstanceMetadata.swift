import Foundation
import Secrets

/// Credentials of the EC2 instance profile, by IMDSv2 only (EC2 User Guide, "Use the Instance Metadata Service").
struct InstanceMetadata {
  let environment: AWSEnvironment

  private static let timeout: TimeInterval = 1
  private static let attempts = 3

  private struct Document: Decodable {
    let accessKeyID: String
    let secretAccessKey: String
    let token: String
    let expiration: Date

    enum CodingKeys: String, CodingKey {
      case accessKeyID = "AccessKeyId"
      case secretAccessKey = "SecretAccessKey"
      case token = "Token"
      case expiration = "Expiration"
    }
  }

  func credentials() async throws -> AWSCredentials {
    guard environment.variable("AWS_EC2_METADATA_DISABLED")?.lowercased() != "true" else {
      throw AWSError("NoCredentialProviders", "switched off by AWS_EC2_METADATA_DISABLED")
    }
    let base = environment.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT") ?? "http://169.254.169.254"
    let token = try await get(base, "PUT", "/latest/api/token", [("X-aws-ec2-metadata-token-ttl-seconds", "21600")])
    let header = [(name: "X-aws-ec2-metadata-token", value: token)]
    let folder = "/latest/meta-data/iam/security-credentials/"
    guard let role = try await get(base, "GET", folder, header).split(whereSeparator: \.isNewline).first else {
      throw AWSError("NoCredentialProviders", "the instance has no instance profile")
    }
    let text = try await get(base, "GET", folder + SigV4Signer.encode(String(role)), header)
    let decoder = JSONDecoder()
    decoder.dateDecodingStrategy = .iso8601
    guard let document = try? decoder.decode(Document.self, from: Data(text.utf8)) else {
      throw AWSError("InvalidResponse", "the instance profile's credentials are not readable")
    }
    return AWSCredentials(
      accessKeyID: document.accessKeyID, secretAccessKey: Secret(utf8: document.secretAccessKey),
      sessionToken: Secret(utf8: document.token), expiration: document.expiration)
  }

  private func get(
    _ base: String, _ method: String, _ path: String, _ headers: [(name: String, value: String)]
  ) async throws -> String {
    guard let url = URL(string: (base.hasSuffix("/") ? String(base.dropLast()) : base) + path) else {
      throw AWSError("InvalidParameter", "AWS_EC2_METADATA_SERVICE_ENDPOINT is not a URL")
    }
    var attempt = 1
    while true {
      do {
        let request = AWSRequest(method: method, url: url, headers: headers, body: [])
        let answer = try await environment.transport.send(request, timeout: Self.timeout)
        if answer.status == 200 { return String(decoding: answer.body, as: UTF8.self) }
        throw AWSError("InvalidResponse", "\(path) answered \(answer.status)", status: answer.status)
      } catch let error as AWSError {
        if error.isTransient, attempt < Self.attempts {
          attempt += 1
          continue
        }
        guard method == "PUT", error.status == 0 else { throw error }
        // In a container the answer to the PUT dies at the first hop if the limit is 1.
        throw AWSError(
          "NoCredentialProviders",
          "not reachable (outside EC2 that is normal; in a container on EC2 raise the instance's HttpPutResponseHopLimit to 2)"
        )
      }
    }
  }
}
