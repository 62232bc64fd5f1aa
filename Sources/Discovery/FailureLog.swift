import AWS
import Foundation
import Logging

/// A place that could not be looked at.
public struct LookFailure: Sendable {
  /// The region, and the role that it was looked at as.
  public let place: String
  public let reason: String
  public let mend: String?

  init(_ error: any Error, at place: Place) {
    self.place = place.description
    switch error {
    case let error as AWSError: (reason, mend) = (error.details, error.mend)
    case let error as LoginFailure: (reason, mend) = (error.details, error.mend)
    default: (reason, mend) = ("\(error)", nil)
    }
  }
}

/// Says in the log which places cannot be looked at: when that begins, every ten minutes while it lasts, when it is over.
struct FailureLog {
  private static let interval: TimeInterval = 600
  /// When each failing place was spoken of last.
  private var spoken: [Place: TimeInterval] = [:]

  /// Takes up how a look at `place` ended.
  ///
  /// - Parameter kept: how many databases of the place are known from before.
  mutating func note(_ failure: LookFailure?, at place: Place, kept: Int, uptime: TimeInterval, _ logger: Logger) {
    guard let failure else {
      guard spoken.removeValue(forKey: place) != nil else { return }
      return logger.notice("looking for databases in \(place.description) works again")
    }
    if let last = spoken[place], uptime - last < Self.interval { return }
    spoken[place] = uptime
    let text = failure.reason + (failure.mend.map { " (\($0))" } ?? "")
    logger.warning("looking for databases in \(place.description) failed; the \(kept) known there stay: \(text)")
  }

  /// Forgets the places that nobody looks at any more.
  mutating func keep(_ places: Set<Place>) { spoken = spoken.filter { places.contains($0.key) } }
}
