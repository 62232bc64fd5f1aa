import PostgresWire

/// The statements and portals that a session has made, by name, as far as they are remembered.
///
/// Bounded: the oldest is forgotten first, and the statements executed from it afterwards are recorded by name only.
///
/// Names longer than PostgreSQL keeps are not followed: it cuts them, so that several stand for one statement there, while
/// Redshift keeps twice as much. Whatever happens under such a name makes what is known under its beginning unknown, so
/// that no execution is recorded with a text that is not its own.
struct PreparedStatements {
  /// The text of a Parse.
  final class Statement {
    let name: [UInt8]
    let query: [UInt8]
    /// Bytes of the whole text, of which `query` may be the beginning.
    let length: Int

    init(name: [UInt8], query: [UInt8], length: Int) {
      self.name = name
      self.query = query
      self.length = length
    }
  }

  /// A statement with its parameters.
  struct Portal {
    let statementName: [UInt8]
    /// `nil` if it is not (or no longer) known.
    let statement: Statement?
    let parameters: [String]
  }

  static let maximumStatements = 1_000
  static let maximumBytes = 1 << 20
  static let maximumPortals = 256

  private var statements: [[UInt8]: Statement] = [:]
  private var portals: [[UInt8]: Portal] = [:]
  /// Names in the order in which they were given, with those that are gone already.
  private var order: [[UInt8]] = []
  private var bytes = 0

  /// Names that are held in order.
  var places: Int { order.count }

  func statement(_ name: [UInt8]) -> Statement? { statements[name] }
  func portal(_ name: [UInt8]) -> Portal? { portals[name] }

  mutating func put(_ statement: Statement) {
    remove(statement: statement.name)
    guard statement.name.count <= FrontendMessage.maximumName else { return }
    statements[statement.name] = statement
    bytes += statement.query.count + statement.name.count
    // The statement without a name lives until the next Parse; it needs no place in the queue.
    if !statement.name.isEmpty { order.append(statement.name) }
    while statements.count > Self.maximumStatements || bytes > Self.maximumBytes, let oldest = order.first {
      order.removeFirst()
      if oldest != statement.name { remove(statement: oldest) }
    }
    if order.count > 2 * Self.maximumStatements { tidyOrder() }
  }

  /// Drops names that are gone, and all but the last place of those that were given again and again.
  private mutating func tidyOrder() {
    order.removeAll { statements[$0] == nil }
    guard order.count > Self.maximumStatements else { return }
    var seen: Set<[UInt8]> = []
    order = order.reversed().filter { seen.insert($0).inserted }.reversed()
  }

  mutating func remove(statement name: [UInt8]) {
    guard let old = statements.removeValue(forKey: Self.known(name)) else { return }
    bytes -= old.query.count + old.name.count
  }

  mutating func put(_ portal: Portal, named name: [UInt8]) {
    guard name.count <= FrontendMessage.maximumName else { return remove(portal: name) }
    if portals.count >= Self.maximumPortals, portals[name] == nil { portals.removeAll() }
    portals[name] = portal
  }

  mutating func remove(portal name: [UInt8]) { portals[Self.known(name)] = nil }

  /// The name that `name` may stand for at a database that cuts it.
  private static func known(_ name: [UInt8]) -> [UInt8] {
    Array(name.prefix(FrontendMessage.maximumName))
  }

  /// Portals end with their transaction.
  mutating func removePortals() { portals.removeAll(keepingCapacity: true) }
}
