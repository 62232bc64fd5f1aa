import Foundation
import Synchronization

/// Which failures are worth another try, and when: the "standard" retry mode of the SDKs
/// (AWS SDKs and Tools Reference Guide, "Retry behavior").
enum RetryRules {
  private static let throttling: Set<String> = [
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "RequestThrottled",
    "TooManyRequestsException", "ProvisionedThroughputExceededException", "TransactionInProgressException",
    "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException", "SlowDown", "PriorRequestNotComplete",
    "EC2ThrottledException",
  ]
  private static let transient: Set<String> = [
    "RequestTimeout", "RequestTimeoutException", "Timeout", "Unreachable", "InternalError", "InternalFailure",
    "ServiceUnavailable",
    // STS could not reach the provider of a web identity.
    "IDPCommunicationError",
  ]

  static func isWorthRetrying(_ error: AWSError) -> Bool {
    throttling.contains(error.code) || transient.contains(error.code) || error.status == 429
      || [500, 502, 503, 504].contains(error.status)
  }

  /// Seconds to wait before try number `attempt` + 1. Full jitter: clients that failed together do not come back together.
  static func pause(after attempt: Int) -> TimeInterval {
    Double.random(in: 0...1) * min(20, pow(2, Double(min(attempt, 10) - 1)))
  }

  /// Tries of one call in all, the first included: `AWS_MAX_ATTEMPTS`, `max_attempts` of the profile, else 3.
  static func attempts(_ environment: AWSEnvironment) throws -> Int {
    guard let text = environment.setting("AWS_MAX_ATTEMPTS", profileKey: "max_attempts") else { return 3 }
    guard let number = Int(text), (1...20).contains(number) else {
      throw AWSError(
        "InvalidParameter", "AWS_MAX_ATTEMPTS (max_attempts) is '\(text)'", mend: "Use a number from 1 to 20.")
    }
    return number
  }
}

/// Stops tries from multiplying the load of a service that is down: each takes tokens, which successes bring back.
/// One bucket a service, as one client has in the SDKs. Thread-safe.
final class RetryQuota: Sendable {
  private static let capacity = 500
  private let tokens = Mutex<[String: Int]>([:])

  /// Tokens that were taken for another try; `nil`: there are not enough, so there must be none.
  func take(for error: AWSError, service: AWSService) -> Int? {
    let cost = error.code == "Timeout" ? 10 : 5
    return tokens.withLock { tokens in
      let left = tokens[service.name] ?? Self.capacity
      guard left >= cost else { return nil }
      tokens[service.name] = left - cost
      return cost
    }
  }

  /// A call went well: what its last try took comes back; one token if there was none.
  func succeeded(_ service: AWSService, taken: Int) {
    tokens.withLock { $0[service.name] = min(Self.capacity, ($0[service.name] ?? Self.capacity) + max(taken, 1)) }
  }
}
