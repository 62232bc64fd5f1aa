import Foundation
import Secrets

/// What signs a request to AWS.
public struct AWSCredentials: Sendable {
  public let accessKeyID: String
  public let secretAccessKey: Secret
  public let sessionToken: Secret?
  /// `nil` for keys that do not expire.
  public let expiration: Date?

  public init(accessKeyID: String, secretAccessKey: Secret, sessionToken: Secret?, expiration: Date?) {
    self.accessKeyID = accessKeyID
    self.secretAccessKey = secretAccessKey
    self.sessionToken = sessionToken
    self.expiration = expiration
  }
}
