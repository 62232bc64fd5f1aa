import ControlAPI

/// The labels of databases that were found, as Teleport names them (its reference, "Database labels").
public enum DiscoveryLabels {
  /// Facts that AWS tells of a database.
  enum Fact: String {
    case accountID = "account-id"
    case region, workgroup, namespace
    case endpointType = "endpoint-type"
    case vpcID = "vpc-id"
    case cloud = "teleport.dev/cloud"
    case origin = "teleport.dev/origin"
    case type = "teleport.dev/discovery-type"
  }

  /// What the database is called in AWS.
  public static let discoveredName = "teleport.internal/discovered-name"
  /// Tags that give a database its name in the cluster, the first that is there.
  static let nameOverrides = ["TeleportDatabaseName", "teleport.dev/database_name"]

  /// Prefixes of labels that say what others rely on: tags cannot forge them.
  private static let reserved = ["teleport.dev/", "teleport.internal/", "teleport.hidden/"]

  /// Tags and facts as labels. A fact is stronger than a tag of its name: who may tag must not be able to make a
  /// database look like one of another account.
  static func make(
    _ facts: [Fact: String?], type: DatabaseType, account: String, region: String, tags: [String: String]
  ) -> [String: String] {
    var labels: [String: String] = [:]
    for (key, value) in tags where isAllowed(key) { labels[key] = printable(value) }
    for (fact, value) in facts { labels[fact.rawValue] = value ?? nil }
    for (fact, value) in [
      (.accountID, account), (.region, region), (.cloud, "AWS"), (.origin, "cloud"), (.type, type.rawValue),
    ] as [(Fact, String)] { labels[fact.rawValue] = value }
    return labels
  }

  private static func isAllowed(_ key: String) -> Bool {
    key == printable(key) && (nameOverrides.contains(key) || !reserved.contains { key.hasPrefix($0) })
  }

  private static func printable(_ text: String) -> String {
    String(text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : Character($0) })
  }
}
