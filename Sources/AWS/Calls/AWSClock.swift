import Foundation
import Synchronization

/// The time at AWS: this host's, corrected by what AWS's answers say when the two differ by more than a minute.
///
/// Signatures are dated and expiry is judged by it. Thread-safe, without locks.
public final class AWSClock: Sendable {
  private static let tolerance: TimeInterval = 60
  private let system: @Sendable () -> Date
  private let skew = Atomic<Int64>(0)

  /// - Parameter system: this host's clock.
  public init(_ system: @escaping @Sendable () -> Date = { Date() }) { self.system = system }

  public var now: Date { system() + Double(skew.load(ordering: .relaxed)) / 1000 }

  /// Hears the date of an answer, an HTTP date (RFC 9110 section 5.6.7); gives whether that changed the time.
  @discardableResult
  func learn(httpDate text: String?) -> Bool {
    guard let text, let theirs = Self.date(text) else { return false }
    guard abs(theirs.timeIntervalSince(now)) > Self.tolerance else { return false }
    let difference = theirs.timeIntervalSince(system())
    // A date so far off that it does not fit is no date.
    guard let milliseconds = Int64(exactly: (difference * 1000).rounded()) else { return false }
    skew.store(abs(difference) > Self.tolerance ? milliseconds : 0, ordering: .relaxed)
    return true
  }

  private static func date(_ text: String) -> Date? {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = TimeZone(identifier: "GMT")
    formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss zzz"
    return formatter.date(from: text)
  }
}
