/// A statement that clients of one pool have prepared under names of their own, and connections know by one of ours.
final class PreparedStatement {
  /// Unique in its pool for the pool's life.
  let id: UInt64
  /// What the database knows it by.
  let name: [UInt8]
  /// The Parse message's body behind the name: query and parameter types.
  let text: [UInt8]
  /// Names of clients that stand for it.
  var uses = 0

  /// No client may get at another's statement by its server name: those that begin so are changed on their way.
  static let prefix = Array("sallyport_".utf8)

  init(id: UInt64, text: [UInt8]) {
    self.id = id
    self.text = text
    name = Self.prefix + Array(String(id).utf8)
  }
}

/// The statements that a pool's clients have prepared; each text once. Bound to the reactor's thread.
///
/// It holds what clients hold: their own bounds are its bound.
struct StatementTable {
  private var statements: [[UInt8]: PreparedStatement] = [:]
  private var lastID: UInt64 = 0

  var count: Int { statements.count }

  /// A number that nothing in this pool has had before.
  mutating func nextID() -> UInt64 {
    lastID += 1
    return lastID
  }

  /// The statement of that text, for one more name of a client.
  mutating func retain(_ text: [UInt8]) -> PreparedStatement {
    let statement = statements[text] ?? PreparedStatement(id: nextID(), text: text)
    retain(statement)
    return statement
  }

  mutating func retain(_ statement: PreparedStatement) {
    // After its last name went, another may have taken its place: connections tell them apart by their numbers.
    if statements[statement.text] == nil { statements[statement.text] = statement }
    statement.uses += 1
  }

  /// One name less; the last one takes the statement along.
  mutating func release(_ statement: PreparedStatement) {
    statement.uses -= 1
    if statement.uses == 0, statements[statement.text] === statement { statements[statement.text] = nil }
  }
}

/// The prepared statements of one server connection, as far as the messages sent to it tell; of the named ones a bounded
/// number, of which the one used longest ago has to go.
struct ServerStatements {
  private var lastUse: [UInt64: UInt64] = [:]
  private var clock: UInt64 = 0
  private let limit: Int
  /// What the unnamed statement is: the number of the Parse that made it.
  var unnamed = Unnamed.none

  enum Unnamed: Equatable {
    case none
    case made(by: UInt64)
    /// An error has come in between.
    case unknown
  }

  init(limit: Int) { self.limit = max(1, limit) }

  var count: Int { lastUse.count }

  /// Whether statement `id` is there; if so, it has been used now.
  mutating func use(_ id: UInt64) -> Bool {
    guard lastUse[id] != nil else { return false }
    clock += 1
    lastUse[id] = clock
    return true
  }

  /// Enters `id`; the result has to be closed first.
  mutating func add(_ id: UInt64) -> UInt64? {
    var surplus: UInt64?
    if lastUse[id] == nil, lastUse.count >= limit { surplus = lastUse.min { $0.value < $1.value }?.key }
    if let surplus { lastUse[surplus] = nil }
    clock += 1
    lastUse[id] = clock
    return surplus
  }

  mutating func remove(_ id: UInt64) { lastUse[id] = nil }

  /// A Close of it was never carried out: there may be one more than the limit for a while.
  mutating func restore(_ id: UInt64) { lastUse[id] = lastUse[id] ?? 0 }

  mutating func removeAll() {
    lastUse.removeAll()
    unnamed = .none
  }
}
