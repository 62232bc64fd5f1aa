import TextForms

/// `teleport.connection_limits`: how many connections the public port takes.
public struct ConnectionLimits: Sendable, Equatable {
  /// Open at once from one source; `nil` here and below: the built-in limit.
  public var connections: Int?
  /// Open at once from all.
  public var totalConnections: Int?
  /// Of them, those that have not shown a certificate, from one source.
  public var unauthenticated: Int?
  /// Likewise from all.
  public var totalUnauthenticated: Int?
  /// Connections without a certificate a second from one source.
  public var unauthenticatedRate: Int?
  /// Sources without limits of their own. By default this host itself, where a balancer may stand in front.
  public var exempt = ["127.0.0.1", "::1"].compactMap { AddressBlock($0) }

  public init() {}

  init(_ section: YAMLSection) throws {
    try section.allow([
      "max_connections", "max_connections_total", "max_unauthenticated", "max_unauthenticated_total",
      "max_unauthenticated_rate", "exempt", "max_users", "rates",
    ])
    try section.refuse([
      UnsupportedKey(name: "max_users", reason: "connections are bounded by source, not by user; remove it"),
      UnsupportedKey(name: "rates", reason: "write max_unauthenticated_rate"),
    ])
    connections = try Self.number("max_connections", section)
    totalConnections = try Self.number("max_connections_total", section)
    unauthenticated = try Self.number("max_unauthenticated", section)
    totalUnauthenticated = try Self.number("max_unauthenticated_total", section)
    unauthenticatedRate = try Self.number("max_unauthenticated_rate", section)
    guard section["exempt"] != nil else { return }
    exempt = try section.strings("exempt").map { text in
      guard let block = AddressBlock(text) else {
        throw section.complaint(
          "exempt", "has '\(text)', which is not an address or a block such as 10.1.2.3, 10.1.0.0/16 or 2001:db8::/32")
      }
      return block
    }
  }

  private static func number(_ key: String, _ section: YAMLSection) throws -> Int? {
    guard let text = try section.string(key) else { return nil }
    guard let number = Int(text), (1...1_000_000).contains(number) else {
      throw section.complaint(key, "must be a number from 1 to 1000000")
    }
    return number
  }
}
