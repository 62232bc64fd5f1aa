import Foundation

/// Credentials that an agent beside the container gives: ECS tasks and EKS Pod Identity (AWS SDKs and Tools Reference Guide,
/// "Container credential provider").
struct ContainerSource: CredentialSource {
  let environment: AWSEnvironment

  let name = "container credentials"

  private static let relative = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
  private static let full = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
  /// Of ECS, and of EKS's agent in both families.
  private static let agents = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"]

  func find() async throws -> FoundCredentials {
    let (variable, text): (String, String)
    if let path = environment.variable(Self.relative) {
      (variable, text) = (Self.relative, "http://169.254.170.2" + (path.hasPrefix("/") ? path : "/" + path))
    } else if let uri = environment.variable(Self.full) {
      (variable, text) = (Self.full, uri)
    } else {
      throw NotConfigured("neither \(Self.relative) nor \(Self.full) is set")
    }
    guard let url = URL(string: text), let host = url.host, !host.isEmpty else {
      throw AWSError("InvalidParameter", "\(variable) is not a URL")
    }
    guard url.scheme == "https" || url.scheme == "http" && Self.mayBeAsked(host) else {
      throw AWSError(
        "InvalidParameter", "\(variable) leads to \(host), which may not be asked in the clear",
        mend: "Use https, a loopback address, or the addresses of the ECS and EKS agents.")
    }
    var headers = [(name: "Accept", value: "application/json")]
    if let token = try token() { headers.append(("Authorization", token)) }
    let answer = try await environment.transport.send(
      AWSRequest(method: "GET", url: url, headers: headers, body: []), timeout: 2, attempts: 3)
    guard answer.status == 200 else {
      throw AWSError(
        "HTTP \(answer.status)", "the agent at \(url.authority) refused to give credentials",
        mend: "Check the task's or pod's role.", status: answer.status)
    }
    return FoundCredentials(
      credentials: try CredentialDocument.read(answer.body, from: "the agent at \(url.authority)").credentials,
      source: "\(name) (\(variable))")
  }

  /// Only agents on this host, or on its own link, hear the authorisation token without TLS.
  private static func mayBeAsked(_ host: String) -> Bool {
    let host = host.lowercased().trimmingCharacters(in: CharacterSet(charactersIn: "[]"))
    if host == "localhost" || host == "::1" || agents.contains(host) { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
    return parts.count == 4 && parts[0] == 127 && parts.allSatisfy { $0 != nil }
  }

  private func token() throws -> String? {
    let token: String?
    if let path = environment.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
      token = try SmallFile.text(path, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    } else {
      token = environment.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    }
    guard token?.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) != true else {
      throw AWSError(
        "InvalidParameter", "the authorisation token of the container has line breaks or control characters")
    }
    return token
  }
}

/// Files with one thing in them, such as a token.
enum SmallFile {
  private static let maximumSize = 64 << 10

  /// The file's text without white space at its ends.
  ///
  /// - Parameter setting: what names the file, for errors.
  static func text(_ path: String, _ setting: String) throws -> String {
    guard let handle = FileHandle(forReadingAtPath: path), let data = try? handle.read(upToCount: maximumSize + 1),
      data.count <= maximumSize, let text = String(data: data, encoding: .utf8)
    else {
      throw AWSError(
        "InvalidParameter", "\(setting): \(path) cannot be read as text of at most 64 KiB",
        mend: "Check that the file is there and that this process may read it.")
    }
    return text.trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
