import Foundation
import PostgresWire
import Reactor
import Synchronization

/// Lookups of databases' host names.
///
/// getaddrinfo(3) blocks for as long as a name server is silent. So each name has a thread of its own meanwhile, and not one of
/// the Dispatch pool's, which decide about logins to all other databases; who asks for a name that is being looked up shares
/// the answer. May be called from any thread.
final class NameLookups: Sendable {
  private typealias Answer = Result<[SocketAddress], WireError>

  private struct Name: Hashable {
    let host: String
    let port: UInt16
  }

  /// Names that may be looked up at the same time.
  private static let capacity = 64

  /// Who waits for which name.
  private let waiting = Mutex<[Name: [CheckedContinuation<Answer, Never>]]>([:])

  /// As `Resolver.addresses` has it; an address needs no lookup.
  func addresses(host: String, port: UInt16) async throws(WireError) -> [SocketAddress] {
    guard SocketAddress(ip: host, port: port) == nil else { return try Resolver.addresses(host: host, port: port) }
    let answer: Answer = await withCheckedContinuation { wait(for: Name(host: host, port: port), $0) }
    return try answer.get()
  }

  private func wait(for name: Name, _ continuation: CheckedContinuation<Answer, Never>) {
    enum Place { case first, later, none }
    let place = waiting.withLock { waiting in
      if waiting[name] != nil {
        waiting[name]?.append(continuation)
        return Place.later
      }
      guard waiting.count < Self.capacity else { return Place.none }
      waiting[name] = [continuation]
      return Place.first
    }
    switch place {
    case .first: Thread.detachNewThread { self.lookUp(name) }
    case .later: break
    case .none:
      let refusal = WireError(
        .cannotConnect, "too many host names wait for an answer of the DNS",
        hint: "Check the DNS of the Database Service's host.")
      continuation.resume(returning: .failure(refusal))
    }
  }

  private func lookUp(_ name: Name) {
    let answer = Answer { () throws(WireError) in try Resolver.addresses(host: name.host, port: name.port) }
    for continuation in waiting.withLock({ $0.removeValue(forKey: name) }) ?? [] {
      continuation.resume(returning: answer)
    }
  }
}
