import Foundation
import Synchronization

/// Users' certificates whose signature was found good, by their bytes, so that someone who connects again and again costs
/// one verification. Whether a certificate is valid at the moment is asked each time. Thread-safe.
///
/// Belongs to one set of authorities: with others, nothing is known.
final class VerifiedUsers: Sendable {
  private struct Entry {
    let identity: UserIdentity
    let notValidBefore: Date
  }

  private let entries = Mutex<[[UInt8]: Entry]>([:])

  /// Certificates that are kept: about a kilobyte each.
  private static let capacity = 4_096

  func identity(_ der: [UInt8], _ now: Date) -> UserIdentity? {
    guard let entry = entries.withLock({ $0[der] }), entry.notValidBefore <= now, now < entry.identity.notValidAfter
    else { return nil }
    return entry.identity
  }

  func keep(_ identity: UserIdentity, _ der: [UInt8], from notValidBefore: Date) {
    entries.withLock { entries in
      if entries.count >= Self.capacity { entries = [:] }
      entries[der] = Entry(identity: identity, notValidBefore: notValidBefore)
    }
  }
}
