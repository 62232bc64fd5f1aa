import Foundation

/// One place where this host's own AWS credentials may be.
protocol CredentialSource: Sendable {
  /// As reports and errors call it.
  var name: String { get }

  /// Looks there.
  ///
  /// - Throws: `NotConfigured` if the source is not set up on this host, so that the next is asked; anything else if it is and
  ///   fails, which ends the search: what stands behind it might be somebody else.
  func find() async throws -> FoundCredentials
}

/// Credentials and the way they were found.
public struct FoundCredentials: Sendable {
  public let credentials: AWSCredentials
  /// Which source gave them, and from what it made them.
  public let source: String
  /// They are those of an EC2 instance.
  var isOfInstance = false

  public var report: CredentialReport {
    CredentialReport(
      source: source, accessKeyID: credentials.accessKeyID, expiration: credentials.expiration)
  }
}

/// What may be told of credentials: never the secret.
public struct CredentialReport: Sendable, Equatable {
  /// Which source gave them.
  public let source: String
  public let accessKeyID: String
  /// `nil` for keys that do not expire.
  public let expiration: Date?
}

/// A source is not set up here.
struct NotConfigured: Error {
  let reason: String
  /// It was asked and did not answer in time.
  let isSilent: Bool

  init(_ reason: String, isSilent: Bool = false) {
    self.reason = reason
    self.isSilent = isSilent
  }
}

/// This host has no AWS credentials of its own that can be used. Never holds a secret.
public struct CredentialsError: Error, Sendable, Equatable, CustomStringConvertible {
  /// A source that was asked and what came of it.
  public struct Attempt: Sendable, Equatable {
    public let source: String
    public let reason: String
    /// It did not answer in time: for the instance's metadata that may be the hop limit.
    public var isSilent = false
  }

  /// In the order in which they were asked; the last is the one that failed, if one did.
  public let attempts: [Attempt]
  /// How the source failed that is set up; `nil`: none is.
  public let failure: AWSError?

  public var description: String {
    guard let failure else {
      let reasons = attempts.map { "\($0.source): \($0.reason)" }.joined(separator: "; ")
      return "\(summary) (\(reasons))"
    }
    return "\(attempts.last?.source ?? "") gives no credentials: \(failure)"
  }

  /// The same without what it tells of this host: its files, its variables.
  public var summary: String {
    guard let failure else { return "NoCredentialProviders: no valid providers in chain" }
    return "\(failure.code): \(attempts.last?.source ?? "") gives no credentials"
  }

  public var mend: String? {
    guard failure == nil else { return failure?.mend }
    let hopLimit =
      attempts.contains(where: \.isSilent)
      ? " In a container on EC2 raise the instance's HttpPutResponseHopLimit to 2." : ""
    return "Give this host an instance profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
      + hopLimit
  }
}
