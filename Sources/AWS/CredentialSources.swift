import Foundation
import Secrets

/// Finds this host's own AWS credentials, in the AWS SDK's order: environment, shared files, instance metadata.
///
/// Keeps what it found until shortly before it expires; one search at a time. An actor: callable from anywhere.
actor CredentialSources {
  private let environment: AWSEnvironment
  private var current: AWSCredentials?
  private var search: Task<AWSCredentials, any Error>?

  /// Credentials are renewed this long before their end, in seconds.
  private static let margin: TimeInterval = 300

  init(environment: AWSEnvironment) { self.environment = environment }

  func credentials() async throws -> AWSCredentials {
    if let current, current.expiration.map({ $0.timeIntervalSince(environment.now()) > Self.margin }) ?? true {
      return current
    }
    if let search { return try await search.value }
    let task = Task { [environment] in try await Self.find(environment) }
    search = task
    defer { search = nil }
    do {
      let found = try await task.value
      current = found
      return found
    } catch {
      // What is still valid serves on through an outage of its source.
      if let current, let end = current.expiration, end > environment.now() { return current }
      throw error
    }
  }

  /// AWS said they have expired: look again at the next call.
  func forget() { current = nil }

  private static func find(_ environment: AWSEnvironment) async throws -> AWSCredentials {
    var tried: [String] = []
    if let key = environment.variable("AWS_ACCESS_KEY_ID"), let secret = environment.variable("AWS_SECRET_ACCESS_KEY") {
      let token = environment.variable("AWS_SESSION_TOKEN").map { Secret(utf8: $0) }
      return AWSCredentials(
        accessKeyID: key, secretAccessKey: Secret(utf8: secret), sessionToken: token, expiration: nil)
    }
    tried.append("environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")
    for file in SharedFiles.all(environment) {
      switch try file.credentials(profile: environment.variable("AWS_PROFILE") ?? "default") {
      case .found(let credentials): return credentials
      case .missing(let reason): tried.append(reason)
      }
    }
    do {
      return try await InstanceMetadata(environment: environment).credentials()
    } catch let error as AWSError {
      tried.append("EC2 instance metadata: \(error.message)")
    }
    throw AWSError(
      "NoCredentialProviders", "no valid providers in chain (\(tried.joined(separator: "; ")))",
      mend: "Give this host an instance profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.")
  }
}
