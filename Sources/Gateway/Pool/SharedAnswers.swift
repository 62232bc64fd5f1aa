import PostgresWire

/// A shared connection's messages on their way to the client that has it.
extension TransactionSession {
  /// Bytes of the database that its scanner has let pass.
  func answer(_ bytes: UnsafeRawBufferPointer) {
    // As long as everything is for the client, it is handed on where it lies: `plain` bytes of it.
    var plain = 0
    var composed: [UInt8]?
    var position = 0
    while true {
      let start = position
      let isCut = answers.isWithinHeader
      guard let part = answers.next(bytes, &position) else { break }
      let isVisible = take(part)
      let range = start..<position
      if isVisible, !(isCut && part.isFirst) {
        if composed == nil { plain = position } else { composed?.append(contentsOf: bytes[range]) }
      } else {
        if composed == nil { composed = Array(bytes[..<plain]) }
        if isVisible {
          composed?.append(contentsOf: BackendMessage.header(part.type, bodyLength: part.bodyLength))
          composed?.append(contentsOf: part.bytes)
        }
      }
      if part.isLast {
        let invented = ended(part)
        if !invented.isEmpty {
          if composed == nil { composed = Array(bytes[..<plain]) }
          composed?.append(contentsOf: invented)
        }
      }
      if server == nil { return }
    }
    if let composed {
      composed.withUnsafeBytes { deliver($0) }
    } else {
      deliver(UnsafeRawBufferPointer(rebasing: bytes[..<plain]))
    }
    letOn()
    settle()
  }

  /// Looks at a part of a message. Returns whether the client sees it.
  private func take(_ part: MessageWalker.Part) -> Bool {
    if let head = owed.head, head.kind == .query, head.audience == .nobody { return false }
    switch part.type {
    case UInt8(ascii: "1"): return owed.head?.kind != .parse || owed.head?.audience != .nobody
    case UInt8(ascii: "3"): return owed.head?.kind != .close || owed.head?.audience != .nobody
    // Whoever has listened may be somebody else.
    case UInt8(ascii: "A"): return false
    case UInt8(ascii: "S"):
      told.note(part)
      return true
    case UInt8(ascii: "C"):
      if tag.isOfDroppedStatements(part) {
        names.removeAll()
        server?.pooled?.statements.removeAll()
      }
      return true
    default: return true
    }
  }

  /// A message is over. Returns what the client is to be told after it.
  private func ended(_ part: MessageWalker.Part) -> [UInt8] {
    switch part.type {
    case UInt8(ascii: "1"): close(.parse)
    case UInt8(ascii: "2"): close(.bind)
    case UInt8(ascii: "3"): close(.close)
    case UInt8(ascii: "T"), UInt8(ascii: "n"): close(.describe)
    case UInt8(ascii: "C"), UInt8(ascii: "I"), UInt8(ascii: "s"):
      owed.copyEnded()
      close(.execute)
    case UInt8(ascii: "G"), UInt8(ascii: "W"): owed.copyInBegan()
    case UInt8(ascii: "E"): failed()
    case UInt8(ascii: "Z"):
      switch owed.head?.kind {
      case .sync, .query, .function: owed.removeHead()
      default: return broken()
      }
      isSettled = owed.isEmpty && part.bytes.last == UInt8(ascii: "I")
    default: break
    }
    return inventedAnswers()
  }

  private func close(_ kind: AnswerQueue.Kind) { if owed.head?.kind == kind { owed.removeHead() } }

  /// Answers of our own whose turn it is.
  func inventedAnswers() -> [UInt8] {
    var answers: [UInt8] = []
    while let head = owed.head, head.audience == .invented {
      let type = head.kind == .parse ? UInt8(ascii: "1") : UInt8(ascii: "3")
      answers += BackendMessage.header(type, bodyLength: 0)
      owed.removeHead()
    }
    return answers
  }

  private func failed() {
    if let head = owed.head, head.kind == .query, head.audience == .nobody {
      return fail(
        "parameters refused",
        WireError(.connectionFailure, "the session's parameters could not be set on the next connection"))
    }
    for entry in owed.failed().reversed() {
      for change in entry.changes.reversed() { takeBack(change) }
    }
  }

  private func takeBack(_ change: AnswerQueue.Change) {
    switch change {
    case .clientName(let name, let before): names.restore(name, before)
    case .added(let id): server?.pooled?.statements.remove(id)
    case .removed(let id): server?.pooled?.statements.restore(id)
    case .unnamed:
      names.dropUnnamed()
      server?.pooled?.statements.unnamed = .unknown
    }
  }

  /// The database answers what it was not asked: nobody else may have this connection.
  private func broken() -> [UInt8] {
    fail(
      "database broke the protocol",
      WireError(.connectionFailure, "the database broke the protocol: it is ready although nothing was asked"))
    return []
  }
}
