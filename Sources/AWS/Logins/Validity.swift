import Foundation

/// For how long something that expires is used, and when a new one is looked for.
struct Validity: Sendable {
  /// From here on a new one is looked for, while this one serves on.
  let refreshAfter: Date
  /// Until here it may begin to be used: its use takes a while too.
  let usableUntil: Date
  /// From here on it is void; `distantFuture` for what does not expire.
  let end: Date

  /// - Parameters:
  ///   - end: `nil` for what does not expire.
  ///   - suggested: when its maker says that a new one may be had.
  init(until end: Date?, from now: Date, suggested: Date? = nil) {
    guard let end else {
      (refreshAfter, usableUntil, self.end) = (.distantFuture, .distantFuture, .distantFuture)
      return
    }
    let lifetime = max(0, end.timeIntervalSince(now))
    // Five to seven and a half minutes before the end; sooner for what lives shorter. Drawn at random, so that what was made
    // together is not renewed together.
    let ahead = min(300, lifetime / 3) * Double.random(in: 1...1.5)
    let latest = end - ahead
    refreshAfter = suggested.map { min($0, latest) } ?? latest
    usableUntil = end - min(60, lifetime / 10)
    self.end = end
  }
}
