import Foundation
import Secrets

/// Keys in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary ones, `AWS_SESSION_TOKEN`.
struct EnvironmentSource: CredentialSource {
  let environment: AWSEnvironment

  let name = "environment"

  func find() async throws -> FoundCredentials {
    guard let key = environment.variable("AWS_ACCESS_KEY_ID"),
      let secret = environment.variable("AWS_SECRET_ACCESS_KEY")
    else { throw NotConfigured("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set") }
    return FoundCredentials(
      credentials: AWSCredentials(
        accessKeyID: key, secretAccessKey: Secret(utf8: secret),
        sessionToken: environment.variable("AWS_SESSION_TOKEN").map { Secret(utf8: $0) },
        expiration: nil), source: name)
  }
}
