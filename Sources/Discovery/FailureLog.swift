import AWS
import Foundation
import Logging

/// Says in the log which places cannot be looked at: when that begins, every ten minutes while it lasts, when it is over.
struct FailureLog {
  private static let interval: TimeInterval = 600
  /// When each failing place was spoken of last.
  private var spoken: [Place: TimeInterval] = [:]

  /// Takes up how a look at `place` ended.
  ///
  /// - Parameter kept: how many databases of the place are known from before.
  mutating func note(_ failure: (any Error)?, at place: Place, kept: Int, uptime: TimeInterval, _ logger: Logger) {
    guard let failure else {
      guard spoken.removeValue(forKey: place) != nil else { return }
      return logger.notice("looking for databases in \(place.description) works again")
    }
    if let last = spoken[place], uptime - last < Self.interval { return }
    spoken[place] = uptime
    let reason = (failure as? any AWSFailure)?.line ?? "\(failure)"
    logger.warning("looking for databases in \(place.description) failed; the \(kept) known there stay: \(reason)")
  }

  /// Forgets the places that nobody looks at any more.
  mutating func keep(_ places: Set<Place>) { spoken = spoken.filter { places.contains($0.key) } }
}
