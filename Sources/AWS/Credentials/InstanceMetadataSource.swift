import Foundation

/// Credentials of the EC2 instance profile, by IMDSv2 only (EC2 User Guide, "Use the Instance Metadata Service").
///
/// IMDSv1 is never spoken, so `AWS_EC2_METADATA_V1_DISABLED` has nothing to switch off.
struct InstanceMetadataSource: CredentialSource {
  let environment: AWSEnvironment

  let name = "EC2 instance metadata"

  private static let timeout: TimeInterval = 1
  private static let attempts = 3

  func find() async throws -> FoundCredentials {
    let header = try await sessionHeader()
    let folder = "/latest/meta-data/iam/security-credentials/"
    guard let role = try await text(folder, header)?.split(whereSeparator: \.isNewline).first else {
      throw NotConfigured("the instance has no instance profile")
    }
    guard let document = try await text(folder + SigV4Signer.encode(String(role)), header) else {
      throw AWSError("InvalidResponse", "the instance profile '\(role)' has no credentials")
    }
    return FoundCredentials(
      credentials: try CredentialDocument.read(document.utf8, from: name).credentials,
      source: "\(name) (instance profile '\(role)')", isOfInstance: true)
  }

  /// The region that the instance is in.
  func region() async throws -> String? {
    try await text("/latest/meta-data/placement/region", try await sessionHeader())
  }

  private func sessionHeader() async throws -> [(name: String, value: String)] {
    guard environment.variable("AWS_EC2_METADATA_DISABLED")?.lowercased() != "true" else {
      throw NotConfigured("switched off by AWS_EC2_METADATA_DISABLED")
    }
    do {
      let answer = try await send("PUT", "/latest/api/token", [("X-aws-ec2-metadata-token-ttl-seconds", "21600")])
      guard answer.status == 200 else {
        throw AWSError("InvalidResponse", "no session token, but HTTP status \(answer.status)", status: answer.status)
      }
      return [("X-aws-ec2-metadata-token", String(decoding: answer.body, as: UTF8.self))]
    } catch let error as AWSError where error.code == "Timeout" {
      // In a container the answer to the PUT dies at the first hop if the limit is 1.
      throw NotConfigured(
        "no answer in time (outside EC2 that is normal; in a container on EC2 raise the instance's HttpPutResponseHopLimit "
          + "to 2)", isSilent: true)
    } catch let error as AWSError where error.isUnreachable {
      throw NotConfigured("not reachable, as is normal outside EC2: \(error.message)")
    }
  }

  /// What is at `path`; `nil` if there is nothing.
  private func text(_ path: String, _ headers: [(name: String, value: String)]) async throws -> String? {
    let answer = try await send("GET", path, headers)
    guard answer.status != 404 else { return nil }
    guard answer.status == 200 else {
      throw AWSError("InvalidResponse", "\(path) answered \(answer.status)", status: answer.status)
    }
    return String(decoding: answer.body, as: UTF8.self)
  }

  private func send(
    _ method: String, _ path: String, _ headers: [(name: String, value: String)]
  ) async throws -> HTTPAnswer {
    let base = try base()
    guard let url = URL(string: (base.hasSuffix("/") ? String(base.dropLast()) : base) + path), url.host != nil else {
      throw AWSError("InvalidParameter", "AWS_EC2_METADATA_SERVICE_ENDPOINT is not a URL")
    }
    return try await environment.transport.send(
      AWSRequest(method: method, url: url, headers: headers, body: []), timeout: Self.timeout, attempts: Self.attempts)
  }

  private func base() throws -> String {
    if let configured = environment.setting(
      "AWS_EC2_METADATA_SERVICE_ENDPOINT", profileKey: "ec2_metadata_service_endpoint")
    {
      return configured
    }
    let mode = environment.setting(
      "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", profileKey: "ec2_metadata_service_endpoint_mode")
    switch mode?.lowercased() {
    case nil, "ipv4": return "http://169.254.169.254"
    case "ipv6": return "http://[fd00:ec2::254]"
    default:
      throw AWSError(
        "InvalidParameter", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is '\(mode ?? "")'", mend: "Write IPv4 or IPv6.")
    }
  }
}

extension HTTPTransport {
  /// Sends to a service of this host's surroundings: up to `attempts` times while it does not answer or answers 5xx.
  ///
  /// - Parameter timeout: seconds for each try.
  func send(_ request: AWSRequest, timeout: TimeInterval, attempts: Int) async throws -> HTTPAnswer {
    var attempt = 1
    while true {
      do {
        let answer = try await send(request, timeout: timeout)
        guard answer.status >= 500, attempt < attempts else { return answer }
      } catch let error as AWSError where (error.code == "Timeout" || error.isUnreachable) && attempt < attempts {
        // The next try may find it.
      }
      attempt += 1
      try await Task.sleep(for: .milliseconds(Int.random(in: 10...100)))
    }
  }
}
