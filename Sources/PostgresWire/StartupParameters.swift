/// The (name, value) pairs of a startup message, in the client's order and bytes.
public struct StartupParameters: Sendable {
  /// The database user asked for; empty if none was named.
  public let user: String
  /// The database asked for; by the protocol, the user's name if none was named.
  public let database: String
  /// Whether `replication` has any value that PostgreSQL would not read as false.
  public let wantsReplication: Bool
  /// `application_name`, if it is UTF-8.
  public let applicationName: String?
  /// The NegotiateProtocolVersion message owed to a client that asked for more than 3.0.
  public let negotiation: [UInt8]?

  private let pairs: [(name: [UInt8], value: [UInt8])]

  private static let protocolOptionPrefix = Array("_pq_.".utf8)

  init(_ body: UnsafeRawBufferPointer, minorVersion: UInt16) throws(WireError) {
    let pairs = try Self.readPairs(body)
    self.pairs = pairs
    func value(_ name: String) -> [UInt8]? { pairs.first { $0.name == Array(name.utf8) }?.value }
    user = try Self.name(value("user") ?? [], of: "user")
    let database = try Self.name(value("database") ?? [], of: "database")
    self.database = database.isEmpty ? user : database
    wantsReplication = value("replication").map { !Self.isFalse($0) } ?? false
    applicationName = value("application_name").flatMap { String(validating: $0, as: UTF8.self) }
    let unknown = pairs.map(\.name).filter { $0.starts(with: Self.protocolOptionPrefix) }
    negotiation =
      minorVersion > 0 || !unknown.isEmpty
      ? Encode.negotiateProtocolVersion(minor: 0, unrecognised: unknown) : nil
  }

  private static func readPairs(_ body: UnsafeRawBufferPointer) throws(WireError) -> [(name: [UInt8], value: [UInt8])] {
    var reader = ByteReader(body)
    var pairs: [(name: [UInt8], value: [UInt8])] = []
    var names = Set<[UInt8]>()
    while true {
      guard let name = reader.cString() else {
        throw WireError(.protocolViolation, "invalid startup packet layout: expected terminator as last byte")
      }
      if name.isEmpty { break }
      guard let value = reader.cString() else {
        throw WireError(.protocolViolation, "invalid startup packet layout: a parameter has no value")
      }
      guard names.insert(name).inserted else {
        throw WireError(.protocolViolation, "invalid startup packet layout: a parameter is given twice")
      }
      pairs.append((name, value))
    }
    guard reader.remaining == 0 else {
      throw WireError(.protocolViolation, "invalid startup packet layout: data after the terminator")
    }
    return pairs
  }

  /// The longest user (a full role ARN) or database name, in bytes.
  private static let maximumName = 2048

  private static func name(_ bytes: [UInt8], of field: String) throws(WireError) -> String {
    guard bytes.count <= maximumName, bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }),
      let text = String(validating: bytes, as: UTF8.self)
    else {
      throw WireError(
        .protocolViolation, "the \(field) name is longer than \(maximumName) bytes, not UTF-8 or has control characters"
      )
    }
    return text
  }

  /// PostgreSQL's parse_bool, the false half: unique prefixes of the words, any case.
  private static func isFalse(_ value: [UInt8]) -> Bool {
    guard let text = String(validating: value, as: UTF8.self)?.lowercased(), !text.isEmpty else { return false }
    return "false".hasPrefix(text) || "no".hasPrefix(text) || text == "0" || text == "off" || text == "of"
  }

  /// The startup packet for the database: the client's parameters as sent, but for the user, the database,
  /// `replication` and protocol options.
  ///
  /// - Parameter replication: pass the client's wish for replication on (a role allowed it).
  public func relayed(user: String, database: String, replication: Bool = false) throws(WireError) -> [UInt8] {
    let own: [(name: [UInt8], value: [UInt8])] = [
      (Array("user".utf8), Array(user.utf8)), (Array("database".utf8), Array(database.utf8)),
    ]
    let replaced = Set(own.map(\.name))
    let passed = pairs.filter { pair in
      !replaced.contains(pair.name) && !pair.name.starts(with: Self.protocolOptionPrefix)
        && (replication || pair.name != Array("replication".utf8))
    }
    return try Encode.startup(own + passed)
  }
}
