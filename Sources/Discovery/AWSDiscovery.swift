import AWS
import AccessControl
import ConfigurationFile
import ControlAPI
import Foundation
import Logging

/// Looks for databases in AWS, again and again.
///
/// What a place has told stays known until it tells something else: an outage or a permission that was taken away removes
/// no database. Works on the Dispatch pool.
public actor AWSDiscovery {
  /// What to look for, and how often.
  public struct Settings: Sendable {
    let matchers: [DiscoveryMatcher]
    let interval: Duration

    /// - Throws: `ConfigurationError` for a matcher that cannot be used.
    public init(_ matchers: [AWSMatcher], interval: GoDuration) throws {
      self.matchers = try matchers.map(DiscoveryMatcher.init)
      self.interval = .seconds(interval.seconds)
    }
  }

  private var settings: Settings
  private let environment: AWSEnvironment
  private let roles: RoleSessions
  private var due = ContinuousClock.now
  private var known: [Listing: [DiscoveredDatabase]] = [:]
  private var failures = FailureLog()
  private var complaints = Set<String>()
  private let logger: Logger

  /// Seconds that the calls of one listing may take together.
  private static let budget: TimeInterval = 60
  private static let secondTry = Duration.seconds(10)
  /// Places that are asked at the same time.
  private static let atOnce = 5

  public init(
    _ settings: Settings, environment: AWSEnvironment = AWSEnvironment(), logger: Logger = Logger(label: "discovery")
  ) {
    self.settings = settings
    self.environment = environment
    self.logger = logger
    roles = RoleSessions(environment: environment)
  }

  /// Takes up other settings, soon.
  public func use(_ settings: Settings) {
    self.settings = settings
    due = .now
  }

  /// Looks until cancelled.
  ///
  /// - Parameter found: called after each look; answers whether it has been able to use what was found. If not, the next
  ///   look is soon.
  public func run(_ found: @escaping @Sendable (Findings) async -> Bool) async throws {
    while true {
      if due <= .now {
        due = .now + settings.interval
        let findings = await look()
        try Task.checkCancellation()
        if await !found(findings) { due = min(due, .now + Self.secondTry) }
      }
      try await Task.sleep(for: max(.zero, min(.seconds(1), ContinuousClock.now.duration(to: due))))
    }
  }

  /// Looks once, at all places.
  public func look() async -> Findings {
    let matchers = settings.matchers
    var seen = Set<Listing>()
    let listings = matchers.flatMap(\.listings).filter { seen.insert($0).inserted }
    known = known.filter { seen.contains($0.key) }
    let answers = await ask(listings)
    // Who is told to stop has not been refused anything.
    let failed = Task.isCancelled ? [] : answers.compactMap { take($1, from: $0) }
    failures.keep(Set(listings.map(\.place)))
    return sum(up: matchers, unknown: seen.filter { known[$0] == nil }, failed)
  }

  private typealias Answers = [(listing: Listing, result: Result<[DiscoveredDatabase], any Error>)]

  private func ask(_ listings: [Listing]) async -> [(Place, Answers)] {
    let places = Dictionary(grouping: listings, by: \.place)
    return await withTaskGroup(of: (Place, Answers).self) { [roles] group in
      var all: [(Place, Answers)] = []
      for (index, (place, listings)) in places.enumerated() {
        if index >= Self.atOnce, let answers = await group.next() { all.append(answers) }
        group.addTask { (place, await Self.ask(listings, roles)) }
      }
      for await answers in group { all.append(answers) }
      return all
    }
  }

  private static func ask(_ listings: [Listing], _ roles: RoleSessions) async -> Answers {
    await withTaskGroup(of: (Int, Result<[DiscoveredDatabase], any Error>).self) { group in
      for (index, listing) in listings.enumerated() {
        group.addTask {
          do {
            let found = try await roles.using(listing.place.path, budget: budget) { caller, credentials in
              try await Lister(listing: listing, caller: caller, credentials: credentials).databases()
            }
            return (index, .success(found))
          } catch {
            return (index, .failure(error))
          }
        }
      }
      // In their order, whichever was first: of several failures always the same is told.
      let answers = await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
      return listings.enumerated().compactMap { index, listing in answers[index].map { (listing, $0) } }
    }
  }

  private func take(_ answers: Answers, from place: Place) -> Findings.Failure? {
    var failure: (any Error)?
    for (listing, result) in answers {
      switch result {
      case .success(let databases): known[listing] = databases
      case .failure(let error): failure = failure ?? error
      }
    }
    let kept = answers.map { known[$0.listing]?.count ?? 0 }.reduce(0, +)
    failures.note(failure, at: place, kept: kept, uptime: environment.uptime(), logger)
    return failure.map { Findings.Failure(place: place.description, error: $0) }
  }

  private func sum(up matchers: [DiscoveryMatcher], unknown: Set<Listing>, _ failed: [Findings.Failure]) -> Findings {
    var arns = Set<String>()
    var databases: [DiscoveredDatabase] = []
    for matcher in matchers {
      for database in matcher.listings.flatMap({ known[$0] ?? [] })
      where matcher.matcher.tags.matches(database.labels) && arns.insert(database.arn).inserted {
        databases.append(database)
      }
    }
    var outcome = Naming.name(databases)
    let excess = Findings.cut(&outcome.named)
    if excess > 0 {
      outcome.complaints.append("\(excess) databases are left out: there are too many; narrow the tags of the matchers")
    }
    for complaint in outcome.complaints where !complaints.contains(complaint) { logger.warning("\(complaint)") }
    complaints = Set(outcome.complaints)
    return Findings(
      databases: outcome.named.map { $0.database.resource(named: $0.name) }, failures: failed, unknown: unknown)
  }
}

/// What is known after a look.
public struct Findings: Sendable {
  /// Each under a name of its own, in the order of names.
  public let databases: [DatabaseResource]
  /// The places that could not be looked at, wholly or in part, in the order of their names.
  public let failures: [Failure]
  fileprivate let unknown: Set<Listing>

  /// A place that could not be looked at.
  public struct Failure: Sendable {
    /// The region, and the role that it was looked at as.
    public let place: String
    /// The first; an `AWSFailure` as a rule.
    public let error: any Error
  }

  fileprivate init(databases: [DatabaseResource], failures: [Failure], unknown: Set<Listing>) {
    self.databases = databases.sorted { $0.name < $1.name }
    self.failures = failures.sorted { $0.place < $1.place }
    self.unknown = unknown
  }

  /// Nothing is known yet of the place where this database was found, by whomever: it may still be there.
  public func mayStillBeThere(_ database: DatabaseResource) -> Bool {
    Listing(of: database).map(unknown.contains) ?? false
  }

  private static let maximumCount = 5000
  /// Bytes that the labels may have together: each heartbeat carries them.
  private static let maximumLabels = 8 << 20

  /// Cuts off what is too much; how many those were.
  fileprivate static func cut(_ named: inout [(name: String, database: DiscoveredDatabase)]) -> Int {
    named.sort { $0.name < $1.name }
    var (count, bytes) = (0, 0)
    for (_, database) in named.prefix(maximumCount) {
      bytes += database.labels.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
      guard bytes <= maximumLabels else { break }
      count += 1
    }
    let excess = named.count - count
    named.removeLast(excess)
    return excess
  }
}
