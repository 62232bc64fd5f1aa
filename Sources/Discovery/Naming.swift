import AccessControl

/// What databases that were found are called in the cluster. Depends on the set of them alone: every host that finds the
/// same gives the same names.
enum Naming {
  struct Outcome {
    var named: [(name: String, database: DiscoveredDatabase)] = []
    /// Who did not get the name that it should have, and why.
    var complaints: [String] = []
  }

  /// - Parameter databases: each once.
  static func name(_ databases: [DiscoveredDatabase]) -> Outcome {
    var outcome = Outcome()
    var taken: [String: String] = [:]
    func claim(_ name: String, _ database: DiscoveredDatabase) -> Bool {
      guard taken[name] == nil else { return false }
      taken[name] = database.arn
      outcome.named.append((name, database))
      return true
    }
    // A name that somebody has chosen never takes away the one that another has by itself.
    let ordered = databases.sorted { ($0.rank, $0.arn) < ($1.rank, $1.arn) }
    for database in ordered where database.chosenName == nil {
      if claim(database.ownName, database) { continue }
      let further = database.ownName + "-" + (database.endpointType?.rawValue ?? "cluster")
      let isNamed = claim(further, database)
      outcome.complaints.append(
        "\(database.arn) is \(isNamed ? "called '\(further)'" : "left out"): \(taken[database.ownName] ?? "") is "
          + "called '\(database.ownName)'; give one of them a tag TeleportDatabaseName")
    }
    for database in ordered {
      guard let chosen = database.chosenName else { continue }
      if Role.isValidName(chosen), claim(chosen, database) { continue }
      let reason = Role.isValidName(chosen) ? "\(taken[chosen] ?? "") is called so" : "it is not a name"
      let isNamed = claim(database.ownName, database)
      outcome.complaints.append(
        "\(database.arn) is \(isNamed ? "called '\(database.ownName)'" : "left out") and not '\(chosen)', as its tag "
          + "wants: \(reason)")
    }
    return outcome
  }
}

extension DiscoveredDatabase {
  /// The name that a tag gives it.
  fileprivate var chosenName: String? {
    DiscoveryLabels.nameOverrides.lazy.compactMap { labels[$0] }.first { !$0.isEmpty }
  }

  /// The name that it has otherwise, as Teleport forms it: `NAME-TYPE-REGION-ACCOUNT`, without what NAME says anyway.
  var ownName: String {
    ([nameInAWS] + [type.rawValue, region, account].filter { !nameInAWS.lowercased().contains($0) })
      .joined(separator: "-")
  }

  /// Workgroups come before endpoints.
  fileprivate var rank: Int { endpointType == .vpcEndpoint ? 1 : 0 }
}
