import PostgresWire

/// What one client's names of prepared statements stand for.
struct StatementNames {
  /// The client's unnamed statement.
  struct Unnamed {
    /// Number of the Parse that made it.
    let id: UInt64
    /// Name and text of that Parse; `nil`: too long to be repeated elsewhere.
    let parse: [UInt8]?
  }

  private let pool: TransactionPool
  private var statements: [[UInt8]: PreparedStatement] = [:]
  private var bytes = 0
  private(set) var unnamed: Unnamed?

  private static let maximumCount = 10_000
  private static let maximumBytes = 32 << 20
  /// Longest unnamed statement that is kept.
  private static let maximumUnnamed = 64 * 1024

  init(_ pool: TransactionPool) { self.pool = pool }

  subscript(_ name: [UInt8]) -> PreparedStatement? { statements[name] }

  /// Gives `name` to the statement of that text.
  ///
  /// - Throws: 54000 if the client has too many.
  mutating func prepare(_ name: [UInt8], _ text: [UInt8]) throws(WireError) -> PreparedStatement {
    guard statements.count < Self.maximumCount, bytes + text.count + name.count <= Self.maximumBytes else {
      throw WireError(
        .programLimit, "this session has too many prepared statements",
        hint: "Have the program close those that it does not need.")
    }
    let statement = pool.statements.retain(text)
    set(name, statement)
    return statement
  }

  /// Forgets `name`. Returns what it stood for.
  mutating func close(_ name: [UInt8]) -> PreparedStatement? {
    guard let statement = statements[name] else { return nil }
    clear(name, statement)
    return statement
  }

  /// Takes back what a message that was never carried out had changed.
  mutating func restore(_ name: [UInt8], _ before: PreparedStatement?) {
    if let present = statements[name] { clear(name, present) }
    guard let before else { return }
    pool.statements.retain(before)
    set(name, before)
  }

  mutating func makeUnnamed(_ parse: [UInt8]) -> UInt64 {
    let id = pool.statements.nextID()
    unnamed = Unnamed(id: id, parse: parse.count <= Self.maximumUnnamed ? parse : nil)
    return id
  }

  mutating func dropUnnamed() { unnamed = nil }

  mutating func removeAll() {
    for statement in statements.values { pool.statements.release(statement) }
    statements = [:]
    bytes = 0
    unnamed = nil
  }

  private mutating func set(_ name: [UInt8], _ statement: PreparedStatement) {
    statements[name] = statement
    bytes += name.count + statement.text.count
  }

  private mutating func clear(_ name: [UInt8], _ statement: PreparedStatement) {
    statements[name] = nil
    bytes -= name.count + statement.text.count
    pool.statements.release(statement)
  }
}
