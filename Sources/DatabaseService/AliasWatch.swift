import Dispatch

/// Follows custom domains: what a name is an alias of may change while the service runs.
public struct AliasWatch: Sendable {
  /// Seconds between two looks. Resolvers keep answers for as long as their time to live says, so most looks cost little.
  private static let interval = 30

  private let catalog: DatabaseCatalog
  /// The resolver may wait long for an answer: on a thread that may wait.
  private let queue = DispatchQueue(label: "sallyport.aliases", qos: .utility)

  public init(catalog: DatabaseCatalog) { self.catalog = catalog }

  /// Looks until cancelled.
  ///
  /// - Parameter changed: called when a database stands for another workgroup or cluster than before.
  public func run(_ changed: @Sendable () async -> Void) async throws {
    var said: [String: String] = [:]
    while true {
      try await Task.sleep(for: .seconds(Self.interval))
      let look = await withCheckedContinuation { continuation in
        queue.async { continuation.resume(returning: catalog.lookUpAliases()) }
      }
      for (name, complaint) in look.complaints where said[name] != complaint { catalog.logger.warning("\(complaint)") }
      said = look.complaints
      if look.isChanged { await changed() }
    }
  }
}

extension DatabaseCatalog {
  /// Asks the DNS again what custom domains stand for, for logins that begin from now on. Blocks.
  ///
  /// While it does not answer, or with nothing of use, what it said before stays.
  ///
  /// - Returns: whether anything is another than before, and what is to be said of databases by their names.
  fileprivate func lookUpAliases() -> (isChanged: Bool, complaints: [String: String]) {
    var isChanged = false
    var complaints: [String: String] = [:]
    for known in served where known.isOfAlias {
      do {
        let fresh = try known.lookedUpAgain()
        guard fresh.redshift != known.redshift, replace(known, by: fresh) else { continue }
        isChanged = true
        logger.notice("db/\(known.name) is now \(fresh.summary), was \(known.summary)")
      } catch {
        complaints[known.name] = "db/\(known.name) stays \(known.summary): \(error)"
      }
    }
    return (isChanged, complaints)
  }
}
