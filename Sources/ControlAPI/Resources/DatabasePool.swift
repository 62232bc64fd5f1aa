import AccessControl

extension DatabaseResource {
  /// How server connections outlive their clients; the keys, ranges and defaults are those of teleport.yaml.
  public struct Pool: Codable, Sendable, Equatable {
    public var mode: String
    public var size: Int?
    public var databaseSize: Int?
    public var idleTimeout: GoDuration?
    public var lifetime: GoDuration?
    public var resetQuery: String?
    public var resetsAlways: Bool?
    public var checkDelay: GoDuration?
    public var waitTimeout: GoDuration?
    public var maximumWaiting: Int?
    public var maximumStatements: Int?

    enum CodingKeys: String, CodingKey, CaseIterable {
      case mode
      case size = "pool_size"
      case databaseSize = "max_db_connections"
      case idleTimeout = "server_idle_timeout"
      case lifetime = "server_lifetime"
      case resetQuery = "server_reset_query"
      case resetsAlways = "server_reset_query_always"
      case checkDelay = "server_check_delay"
      case waitTimeout = "query_wait_timeout"
      case maximumWaiting = "max_waiting_clients"
      case maximumStatements = "max_prepared_statements"
    }

    /// What may be said of a pool.
    public static let keys = CodingKeys.allCases.map(\.rawValue)

    public init(from decoder: any Decoder) throws {
      try RoleKeys(enforced: Self.keys).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      mode = try values.decode(String.self, forKey: .mode)
      size = try values.decodeIfPresent(Int.self, forKey: .size)
      databaseSize = try values.decodeIfPresent(Int.self, forKey: .databaseSize)
      idleTimeout = try values.decodeIfPresent(GoDuration.self, forKey: .idleTimeout)
      lifetime = try values.decodeIfPresent(GoDuration.self, forKey: .lifetime)
      resetQuery = try values.decodeIfPresent(String.self, forKey: .resetQuery)
      resetsAlways = try values.decodeIfPresent(Bool.self, forKey: .resetsAlways)
      checkDelay = try values.decodeIfPresent(GoDuration.self, forKey: .checkDelay)
      waitTimeout = try values.decodeIfPresent(GoDuration.self, forKey: .waitTimeout)
      maximumWaiting = try values.decodeIfPresent(Int.self, forKey: .maximumWaiting)
      maximumStatements = try values.decodeIfPresent(Int.self, forKey: .maximumStatements)
    }
  }
}
