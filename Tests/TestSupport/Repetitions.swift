import Foundation

/// How often a test with random inputs tries: as often as an environment variable says, else as often as usual.
public func repetitions(_ variable: String, usually: Int) -> Int {
  ProcessInfo.processInfo.environment[variable].flatMap { Int($0) } ?? usually
}
