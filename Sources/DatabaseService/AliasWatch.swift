/// Follows custom domains: what a name is an alias of may change while the service runs.
public struct AliasWatch: Sendable {
  /// Seconds between two looks. Resolvers keep answers for as long as their time to live says, so most looks cost little.
  private static let interval = 30

  private let catalog: DatabaseCatalog

  public init(catalog: DatabaseCatalog) { self.catalog = catalog }

  /// Looks until cancelled.
  ///
  /// - Parameter changed: called when a database stands for another workgroup or cluster than before.
  public func run(_ changed: @Sendable () async -> Void) async throws {
    while true {
      try await Task.sleep(for: .seconds(Self.interval))
      if catalog.lookUpAliases() { await changed() }
    }
  }
}

extension DatabaseCatalog {
  /// Asks the DNS again what custom domains stand for, for logins that begin from now on. Blocks.
  ///
  /// While it does not answer, or with nothing of use, what it said before stays.
  ///
  /// - Returns: whether anything is another than before.
  func lookUpAliases() -> Bool {
    var isChanged = false
    for known in served where known.isOfAlias {
      do {
        let fresh = try ServedDatabase(known.configuration, origin: known.origin)
        guard fresh.redshift != known.redshift, replace(known, by: fresh) else { continue }
        isChanged = true
        logger.notice("db/\(known.name) is now \(fresh.summary), was \(known.summary)")
      } catch {
        logger.info("db/\(known.name) stays \(known.summary): \(error)")
      }
    }
    return isChanged
  }
}
