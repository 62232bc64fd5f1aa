import Foundation

/// The work did not end in time.
struct TimeLimitError: Error {}

/// Runs `work`, which is cancelled after `seconds`: it has to heed cancellation for the limit to hold.
///
/// - Throws: `TimeLimitError` if it was cancelled for that, else what `work` throws.
func withTimeLimit<Result: Sendable>(
  _ seconds: TimeInterval, _ work: @escaping @Sendable () async throws -> Result
) async throws -> Result {
  try await withThrowingTaskGroup(of: Result.self) { group in
    group.addTask { try await work() }
    group.addTask {
      try await Task.sleep(for: .seconds(seconds))
      throw TimeLimitError()
    }
    defer { group.cancelAll() }
    guard let first = try await group.next() else { throw TimeLimitError() }
    return first
  }
}
