import Foundation
import TextForms

/// Lets few hashes run at once, each takes 32 MiB, and slows down who guesses.
///
/// Failures are counted by user name and by source. Who has failed too often waits; whoever goes on failing after that
/// waits twice as long each time.
actor PasswordGate {
  /// What counts failures: one user, whoever asks, or one source, whomever it asks for.
  private enum Subject: Hashable {
    case user(String)
    case source(AddressBlock)

    /// Failures within `window` that are let pass. A source may be a whole office.
    var allowance: Int {
      switch self {
      case .user: 10
      case .source: 50
      }
    }
  }

  private struct Failures {
    var count = 0
    var since: Date
    /// How often the allowance has been used up, one time after the other.
    var rounds = 0
    var closedUntil = Date.distantPast
  }

  /// Sources that others stand behind, such as a load balancer: their failures count for the users only.
  private let exempt: [AddressBlock]
  private var running = 0
  private var failures: [Subject: Failures] = [:]

  private static let atOnce = 4
  /// Seconds in which failures add up, and those of the first wait.
  private static let window: TimeInterval = 300
  private static let longestWait: TimeInterval = 3600
  private static let maximumSubjects = 20_000

  init(exempt: [AddressBlock] = []) { self.exempt = exempt }

  /// Takes a place, or says why not.
  func enter(_ name: String, from source: String, now: Date = Date()) throws {
    let subjects = [(Subject.user(name), "for this user")] + sources(source).map { ($0, "from this address") }
    for (subject, whose) in subjects {
      guard let until = failures[subject]?.closedUntil, now < until else { continue }
      let minutes = Int((until.timeIntervalSince(now) / 60).rounded(.up))
      throw AuthError.tooMany(
        "too many wrong passwords \(whose); try again in \(minutes) minute\(minutes == 1 ? "" : "s")")
    }
    guard running < Self.atOnce else { throw AuthError.tooMany("too many logins at once; try again in a moment") }
    running += 1
  }

  /// Gives the place back and remembers a failure. What succeeds clears the user; a source may hold other users' guesses.
  func leave(_ name: String, from source: String, succeeded: Bool, now: Date = Date()) {
    running -= 1
    if succeeded {
      failures[.user(name)] = nil
      return
    }
    for subject in [.user(name)] + sources(source) { count(subject, now) }
  }

  /// What stands for the client at `address`, as the limits of connections have it; nothing for exempt ones.
  private func sources(_ address: String) -> [Subject] {
    guard let block = AddressBlock(address), !exempt.contains(where: { $0.contains(block) }) else { return [] }
    return [.source(block.isIPv4 ? block : block.widened(to: 64))]
  }

  private func count(_ subject: Subject, _ now: Date) {
    if failures[subject] == nil, failures.count >= Self.maximumSubjects { makeRoom(now) }
    var entry = failures[subject] ?? Failures(since: now)
    if now >= entry.since + Self.window {
      entry.count = 0
      entry.since = now
    }
    entry.count += 1
    if entry.count >= subject.allowance {
      entry.closedUntil = now + min(Self.longestWait, Self.window * Double(1 << min(entry.rounds, 8)))
      entry.rounds += 1
      entry.count = 0
      entry.since = entry.closedUntil
    }
    failures[subject] = entry
  }

  /// Forgets who has behaved for as long as the longest wait; if nobody has, the one whose failures are oldest.
  private func makeRoom(_ now: Date) {
    failures = failures.filter { now < max($0.value.since, $0.value.closedUntil) + Self.longestWait }
    guard failures.count >= Self.maximumSubjects else { return }
    if let oldest = failures.min(by: { $0.value.since < $1.value.since }) { failures[oldest.key] = nil }
  }
}
