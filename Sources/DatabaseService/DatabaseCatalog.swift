import AccessControl
import ConfigurationFile
import ControlAPI
import Logging
import Synchronization

/// The databases that this Database Service serves: those of its teleport.yaml, those of the cluster that its `resources`
/// match, and those that it found in AWS. Of several that have one name the first of this order is served. Thread-safe.
public final class DatabaseCatalog: Sendable {
  /// The part that teleport.yaml decides.
  public struct Configured: Sendable {
    fileprivate var databases: [String: ServedDatabase] = [:]
    fileprivate var matchers: [DatabaseMatcher] = []

    /// - Throws: `ConfigurationError` for a database of the file that cannot be served.
    public init(_ configuration: TeleportConfiguration) throws {
      guard configuration.isDatabaseEnabled else { return }
      for database in configuration.databases { databases[database.name] = try ServedDatabase(database) }
      matchers = configuration.databaseMatchers
    }
  }

  /// What was made of a resource.
  private struct Dynamic {
    let configuration: DatabaseConfiguration
    let served: ServedDatabase
  }

  private enum Source { case cluster, cloud }

  private struct Contents {
    var configured: Configured
    /// The cluster's databases as they were last heard of, and those of the cloud.
    var resources: [Source: [DatabaseResource]] = [:]
    /// What has been said of those that are not served.
    var complaints = Set<String>()
    var dynamic: [String: Dynamic] = [:]

    var served: [ServedDatabase] { Array(configured.databases.values) + dynamic.values.map(\.served) }
  }

  private let contents: Mutex<Contents>
  let logger = Logger(label: "db")

  public init(_ configured: Configured) { contents = Mutex(Contents(configured: configured)) }

  /// All that is served now, by name.
  public var served: [ServedDatabase] { contents.withLock(\.served).sorted { $0.name < $1.name } }

  /// The database of that name, if it is served now.
  public func database(named name: String) -> ServedDatabase? {
    contents.withLock { $0.configured.databases[name] ?? $0.dynamic[name]?.served }
  }

  /// The labels of each database whose values commands give.
  var dynamicLabels: [String: [DynamicLabel]] {
    contents.withLock { $0.configured.databases.mapValues(\.dynamicLabels).filter { !$0.value.isEmpty } }
  }

  /// Gives a dynamic label its value, for logins that begin from now on; whether that is another one than before.
  func set(_ label: String, to value: String, of database: String) -> Bool {
    contents.withLock { contents in
      guard let served = contents.configured.databases[database], served.labels[label] != value,
        served.dynamicLabels.contains(where: { $0.name == label })
      else { return false }
      contents.configured.databases[database]?.labels[label] = value
      return true
    }
  }

  /// Puts a database in the place of another that was made of the same description; `false` if that is not there any more.
  func replace(_ known: ServedDatabase, by fresh: ServedDatabase) -> Bool {
    contents.withLock { contents in
      if let present = contents.configured.databases[known.name] {
        guard present.configuration == known.configuration else { return false }
        contents.configured.databases[known.name] = fresh
        // What commands have said of labels meanwhile stays.
        contents.configured.databases[known.name]?.labels = present.labels
        return true
      }
      guard let present = contents.dynamic[known.name], present.configuration == known.configuration else {
        return false
      }
      contents.dynamic[known.name] = Dynamic(configuration: present.configuration, served: fresh)
      return true
    }
  }

  /// Takes up another configuration: for logins that begin from now on.
  public func use(_ configured: Configured) {
    contents.withLock { contents in
      var configured = configured
      // What commands have said of a label stays until they say otherwise.
      for (name, database) in configured.databases {
        for label in database.dynamicLabels {
          guard let known = contents.configured.databases[name], known.dynamicLabels.contains(label) else { continue }
          configured.databases[name]?.labels[label.name] = known.labels[label.name]
        }
      }
      contents.configured = configured
      renew(&contents)
    }
  }

  /// Takes up the cluster's databases as they are now, likewise.
  ///
  /// - Returns: whether anything has changed in what is served.
  public func use(_ resources: [DatabaseResource]) -> Bool { use(resources, of: .cluster) }

  /// Takes up the databases of the cloud as they are now, likewise.
  public func use(found resources: [DatabaseResource]) -> Bool { use(resources, of: .cloud) }

  private func use(_ resources: [DatabaseResource], of source: Source) -> Bool {
    contents.withLock { contents in
      guard contents.resources[source] != resources else { return false }
      contents.resources[source] = resources
      return renew(&contents)
    }
  }

  /// One that cannot be served is left out, the others are served all the same.
  @discardableResult
  private func renew(_ contents: inout Contents) -> Bool {
    var next: [String: Dynamic] = [:]
    var isChanged = false
    var complaints = Set<String>()
    for (resource, source) in candidates(contents) {
      let name = resource.name
      let origin: ServedDatabase.Origin = resource.isDiscovered ? .cloud : .dynamic
      do {
        let matchers = contents.configured.matchers
        let configuration =
          source == .cloud
          ? try DatabaseConfiguration(resource) : try DatabaseConfiguration(resource, matchers: matchers)
        guard let configuration else { continue }
        let other = contents.configured.databases[name] == nil ? next[name].map { _ in "the cluster" } : "teleport.yaml"
        if let other {
          let what = source == .cloud ? "the database '\(name)' found in AWS" : "db/\(name)"
          complaints.insert("\(what) is not served: \(other) has a database of that name")
          continue
        }
        if let known = contents.dynamic[name], known.configuration == configuration, known.served.origin == origin {
          next[name] = known
          continue
        }
        next[name] = Dynamic(configuration: configuration, served: try ServedDatabase(configuration, origin: origin))
        isChanged = true
        logger.notice("db/\(name) is served, as it is described now")
      } catch {
        complaints.insert("db/\(name) cannot be served: \(error)")
      }
    }
    for name in contents.dynamic.keys where next[name] == nil {
      isChanged = true
      logger.notice("db/\(name) is served no more")
    }
    for complaint in complaints.subtracting(contents.complaints).sorted() { logger.warning("\(complaint)") }
    contents.complaints = complaints
    contents.dynamic = next
    return isChanged
  }

  private func candidates(_ contents: Contents) -> [(resource: DatabaseResource, source: Source)] {
    [Source.cluster, .cloud].flatMap { source in (contents.resources[source] ?? []).map { ($0, source) } }
  }
}
