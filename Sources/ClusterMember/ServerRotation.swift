import Synchronization

/// The addresses that a host may find its cluster at, and the one in use. Thread-safe.
final class ServerRotation: Sendable {
  private let servers: [String]
  private let uses = Atomic(0)

  /// - Parameter servers: one at least.
  init(_ servers: [String]) { self.servers = servers }

  var current: String { servers[uses.load(ordering: .relaxed) % servers.count] }

  /// The one in use has failed: the next takes its place.
  func advance() { uses.wrappingAdd(1, ordering: .relaxed) }

  /// Asks each in turn, beginning with the one in use, until one answers.
  ///
  /// - Throws: what the last one threw.
  func firstThatAnswers<Answer>(_ ask: (String) async throws -> Answer) async throws -> Answer {
    for _ in servers.dropFirst() {
      do {
        return try await ask(current)
      } catch {
        advance()
      }
    }
    return try await ask(current)
  }
}
