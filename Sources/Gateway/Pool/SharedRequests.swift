import PostgresWire

/// A client's messages on their way to a shared connection.
extension TransactionSession {
  /// Longest Parse that is taken, in bytes.
  private static let maximumParse: UInt32 = 16 << 20
  /// Longest names of a Bind together; the database cuts names at 63 bytes.
  private static let maximumNames = 8 << 10

  func handle(_ part: MessageWalker.Part) {
    if part.isFirst { begin(part) }
    switch handling {
    case .skip: break
    case .pass: output.append(contentsOf: part.bytes)
    case .whole:
      body.append(contentsOf: part.bytes)
      guard part.isLast else { return }
      let whole = body
      body.removeAll(keepingCapacity: whole.count <= Self.maximumNames)
      finish(part.type, whole)
    case .names:
      body.append(contentsOf: part.bytes)
      readBind(part)
    }
  }

  private func begin(_ part: MessageWalker.Part) {
    handling = .pass
    guard let connection = server?.pooled else {
      handling = .skip
      return
    }
    // Until the Sync that ends an error, the database reads and ignores.
    if owed.isSkipping, part.type != UInt8(ascii: "S") {
      handling = .skip
      return
    }
    switch part.type {
    case UInt8(ascii: "P"):
      guard part.bodyLength <= Self.maximumParse else {
        handling = .skip
        return fail(
          "statement too long",
          WireError(.programLimit, "a statement of more than \(Self.maximumParse) bytes in a pool of mode transaction"))
      }
      handling = .whole
    case UInt8(ascii: "C"), UInt8(ascii: "D"): handling = .whole
    case UInt8(ascii: "B"): handling = .names
    case UInt8(ascii: "Q"):
      // A simple query ends the unnamed statement.
      names.dropUnnamed()
      connection.statements.unnamed = .none
      owed.append(.init(kind: .query))
    case UInt8(ascii: "F"): owed.append(.init(kind: .function))
    case UInt8(ascii: "E"): owed.append(.init(kind: .execute))
    case UInt8(ascii: "S"): owed.append(.init(kind: .sync))
    case UInt8(ascii: "c"), UInt8(ascii: "f"): owed.append(.init(kind: .copyEnd))
    default: break
    }
    switch part.type {
    case UInt8(ascii: "d"), UInt8(ascii: "c"), UInt8(ascii: "f"), UInt8(ascii: "H"): break
    default: isSettled = false
    }
    if handling == .pass { output += FrontendMessage.header(part.type, bodyLength: part.bodyLength) }
  }

  private func finish(_ type: UInt8, _ body: [UInt8]) {
    switch type {
    case UInt8(ascii: "P"): parse(body)
    case UInt8(ascii: "D"): describe(body)
    default: close(body)
    }
  }

  // MARK: Parse

  private func parse(_ body: [UInt8]) {
    guard let end = body.firstIndex(of: 0), let connection = server?.pooled else {
      // The database says what is wrong with it.
      return send("P", body, .init(kind: .parse))
    }
    let name = Array(body[..<end])
    let text = Array(body[(end + 1)...])
    if name.isEmpty {
      connection.statements.unnamed = .made(by: names.makeUnnamed(body))
      return send("P", body, .init(kind: .parse, changes: [.unnamed]))
    }
    if let known = names[name] {
      // As the database would have it: a name is given once. It is the one to say so.
      ensure(known)
      return send("P", known.name + [0] + text, .init(kind: .parse))
    }
    do throws(WireError) {
      let statement = try names.prepare(name, text)
      let change = AnswerQueue.Change.clientName(name, before: nil)
      if connection.statements.use(statement.id) {
        return invent(.init(kind: .parse, audience: .invented, changes: [change]))
      }
      makeRoom(for: statement)
      send(
        "P", statement.name + [0] + text, .init(kind: .parse, changes: [change, .added(statement.id)]))
    } catch {
      fail("too many prepared statements", error)
    }
  }

  /// Has `statement` on the connection.
  private func ensure(_ statement: PreparedStatement) {
    guard let connection = server?.pooled, !connection.statements.use(statement.id) else { return }
    makeRoom(for: statement)
    send(
      "P", statement.name + [0] + statement.text,
      .init(kind: .parse, audience: .nobody, changes: [.added(statement.id)]))
  }

  private func makeRoom(for statement: PreparedStatement) {
    guard let surplus = server?.pooled?.statements.add(statement.id) else { return }
    let name = PreparedStatement.prefix + Array(String(surplus).utf8)
    send(
      "C", [UInt8(ascii: "S")] + name + [0], .init(kind: .close, audience: .nobody, changes: [.removed(surplus)]))
  }

  /// Has the client's unnamed statement on the connection, or none if the client has none.
  private func ensureUnnamed() {
    guard let connection = server?.pooled else { return }
    let own = names.unnamed
    guard connection.statements.unnamed != (own.map { .made(by: $0.id) } ?? .none) else { return }
    if let own, let parse = own.parse {
      connection.statements.unnamed = .made(by: own.id)
      send("P", parse, .init(kind: .parse, audience: .nobody, changes: [.unnamed]))
    } else {
      connection.statements.unnamed = .none
      send("C", [UInt8(ascii: "S"), 0], .init(kind: .close, audience: .nobody, changes: [.unnamed]))
    }
  }

  /// What the connection knows the client's statement by.
  private func serverName(_ name: [UInt8]) -> [UInt8] {
    if name.isEmpty {
      ensureUnnamed()
      return name
    }
    if let statement = names[name] {
      ensure(statement)
      return statement.name
    }
    // One of SQL's PREPARE, or none at all.
    return name.starts(with: PreparedStatement.prefix) ? [UInt8(ascii: "_")] + name : name
  }

  // MARK: Bind, Describe, Close

  private func readBind(_ part: MessageWalker.Part) {
    guard let portalEnd = body.firstIndex(of: 0), let end = body[(portalEnd + 1)...].firstIndex(of: 0) else {
      if part.isLast {
        send("B", body, .init(kind: .bind))
        body.removeAll()
      } else if body.count > Self.maximumNames {
        handling = .skip
        body.removeAll()
        fail("name too long", WireError(.nameTooLong, "the name of a prepared statement or portal is too long"))
      }
      return
    }
    let start = body
    body.removeAll()
    let name = Array(start[(portalEnd + 1)..<end])
    let known = serverName(name)
    owed.append(.init(kind: .bind))
    let length = UInt32(clamping: Int(part.bodyLength) - name.count + known.count)
    output += FrontendMessage.header(UInt8(ascii: "B"), bodyLength: length)
    output += start[...portalEnd] + known + start[end...]
    // Values follow as they are.
    handling = .pass
  }

  private func describe(_ body: [UInt8]) {
    guard let target = FrontendMessage.target(body), target.kind == UInt8(ascii: "S"), body.last == 0 else {
      return send("D", body, .init(kind: .describe))
    }
    send("D", [target.kind] + serverName(target.name) + [0], .init(kind: .describe))
  }

  private func close(_ body: [UInt8]) {
    guard let target = FrontendMessage.target(body), target.kind == UInt8(ascii: "S"), body.last == 0 else {
      return send("C", body, .init(kind: .close))
    }
    if target.name.isEmpty {
      names.dropUnnamed()
      server?.pooled?.statements.unnamed = .none
      return send("C", body, .init(kind: .close, changes: [.unnamed]))
    }
    guard let before = names.close(target.name) else {
      return send("C", [target.kind] + serverName(target.name) + [0], .init(kind: .close))
    }
    // The connection keeps it: others, or the same client, may want it again.
    invent(.init(kind: .close, audience: .invented, changes: [.clientName(target.name, before: before)]))
  }

  // MARK: Out

  private func send(_ type: Character, _ body: [UInt8], _ entry: AnswerQueue.Entry) {
    guard let type = type.asciiValue else { return }
    output += FrontendMessage.header(type, bodyLength: UInt32(clamping: body.count))
    output += body
    owed.append(entry)
  }

  /// An answer of our own, in its turn.
  private func invent(_ entry: AnswerQueue.Entry) {
    owed.append(entry)
    // Never into the middle of a message; then it follows that.
    guard answers.isAtMessageBoundary else { return }
    let answer = inventedAnswers()
    answer.withUnsafeBytes { deliver($0) }
  }
}
