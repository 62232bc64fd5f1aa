import PostgresWire
import Testing

@testable import Gateway

@Suite struct ServerStatementsTests {
  @Test func theOneUsedLongestAgoGoes() {
    var statements = ServerStatements(limit: 3)
    for id in 1...3 { #expect(statements.add(UInt64(id)) == nil) }
    #expect(statements.use(1) && statements.use(3))
    #expect(statements.add(4) == 2)
    #expect(!statements.use(2) && statements.use(1))
    #expect(statements.add(5) == 3)
    #expect(statements.count == 3)
    // What is there already pushes nothing out.
    #expect(statements.add(5) == nil && statements.count == 3)
  }

  @Test func agreesWithAListInOrderOfUse() {
    var statements = ServerStatements(limit: 5)
    var list: [UInt64] = []
    var random = SystemRandomNumberGenerator()
    for _ in 0..<2000 {
      let id = UInt64.random(in: 1...9, using: &random)
      if statements.use(id) {
        #expect(list.contains(id))
        list.removeAll { $0 == id }
      } else {
        #expect(!list.contains(id))
        let surplus = statements.add(id)
        #expect(surplus == (list.count == 5 ? list.first : nil))
        if surplus != nil { list.removeFirst() }
      }
      list.append(id)
    }
  }

  @Test func whatWasNotCarriedOutIsTakenBack() {
    var statements = ServerStatements(limit: 1)
    _ = statements.add(1)
    #expect(statements.add(2) == 1)
    // Neither the Close of 1 nor the Parse of 2 happened.
    statements.remove(2)
    statements.restore(1)
    #expect(statements.use(1) && !statements.use(2) && statements.count == 1)
  }
}

@Suite struct StatementTableTests {
  @Test func equalTextsAreOneStatementWhileSomebodyHoldsThem() {
    var table = StatementTable()
    let one = table.retain([1])
    #expect(table.retain([1]) === one && table.retain([2]) !== one && table.count == 2)
    table.release(one)
    #expect(table.count == 2)
    table.release(one)
    #expect(table.count == 1)
    let again = table.retain([1])
    // Connections may still have the former one under its name.
    #expect(again.id != one.id && again.name != one.name)
    // It comes back after another has taken its place: both live as long as they are held.
    table.retain(one)
    table.release(again)
    table.release(one)
    #expect(table.count == 1)
  }
}

@Suite struct AnswerQueueTests {
  private func queue(_ kinds: AnswerQueue.Kind...) -> AnswerQueue {
    var queue = AnswerQueue()
    for kind in kinds { queue.append(.init(kind: kind)) }
    return queue
  }

  private func drained(_ queue: AnswerQueue) -> [AnswerQueue.Kind] {
    var queue = queue
    var kinds: [AnswerQueue.Kind] = []
    while let head = queue.head {
      kinds.append(head.kind)
      queue.removeHead()
    }
    return kinds
  }

  @Test func anErrorEndsEverythingUpToTheNextSync() {
    var queue = queue(.parse, .bind, .query, .execute, .sync, .parse, .sync)
    queue.removeHead()
    #expect(queue.failed().map(\.kind) == [.bind, .query, .execute])
    #expect(!queue.isSkipping && drained(queue) == [.sync, .parse, .sync])
  }

  @Test func anErrorBeforeItsSyncIsSentLastsTillThen() {
    var queue = queue(.parse, .bind)
    #expect(queue.failed().map(\.kind) == [.parse, .bind])
    #expect(queue.isSkipping && queue.isEmpty)
    queue.append(.init(kind: .sync))
    #expect(!queue.isSkipping && drained(queue) == [.sync])
  }

  @Test(arguments: [AnswerQueue.Kind.query, .function, .sync])
  func theseAreAnsweredByReadyForQueryInSpiteOfAnError(kind: AnswerQueue.Kind) {
    var queue = queue(kind, .parse, .sync)
    #expect(queue.failed().isEmpty && !queue.isSkipping)
    #expect(drained(queue) == [kind, .parse, .sync])
  }

  @Test func syncsWithinACopyAreNotAnswered() {
    // Sent before the database's answer.
    var early = queue(.execute, .sync, .copyEnd, .sync)
    early.copyInBegan()
    #expect(!early.isCopyingIn && drained(early) == [.execute, .sync])
    // And after it.
    var late = queue(.execute, .sync)
    late.copyInBegan()
    #expect(late.isCopyingIn)
    for kind in [AnswerQueue.Kind.sync, .copyEnd, .sync] { late.append(.init(kind: kind)) }
    #expect(!late.isCopyingIn && drained(late) == [.execute, .sync])
  }

  @Test func aPipelineThatIsNeverEmptyStaysInOrder() {
    var queue = queue(.parse)
    for round in 0..<10_000 {
      queue.append(.init(kind: round % 2 == 0 ? .bind : .execute))
      queue.removeHead()
      #expect(queue.count == 1 && queue.head?.kind == (round % 2 == 0 ? .bind : .execute))
    }
  }

  @Test func strayEndsOfACopyOweNothing() {
    var queue = queue(.copyEnd, .query, .copyEnd, .copyEnd)
    queue.removeHead()
    #expect(queue.isEmpty)
    queue.append(.init(kind: .copyEnd))
    #expect(queue.isEmpty)
  }
}

@Suite struct SharedParametersTests {
  private func book(_ values: [(String, [UInt8])]) -> ParameterBook {
    var book = ParameterBook()
    for (name, value) in values {
      Encode.parameterStatus(name: Array(name.utf8), value: value).withUnsafeBytes { book.note($0) }
    }
    return book
  }

  private func query(_ name: String, from: String, to: String) -> String? {
    SharedParameters.query(from: book([(name, Array(from.utf8))]), to: book([(name, Array(to.utf8))]))
  }

  @Test func onlyWhatDiffersAndMayBeSetIsSet() {
    #expect(query("TimeZone", from: "UTC", to: "UTC") == nil)
    #expect(query("TimeZone", from: "UTC", to: "Asia/Tokyo") == "SET TimeZone TO E'Asia/Tokyo'")
    #expect(query("is_superuser", from: "off", to: "on") == nil)
    let several = SharedParameters.query(
      from: book([("DateStyle", Array("ISO".utf8)), ("TimeZone", Array("UTC".utf8))]),
      to: book([("TimeZone", Array("CET".utf8)), ("DateStyle", Array("German".utf8))]))
    #expect(several == "SET DateStyle TO E'German'; SET TimeZone TO E'CET'")
  }

  @Test func valuesCannotEscapeTheirQuotes() {
    #expect(
      query("application_name", from: "", to: #"'; drop table t; --\' \"#)
        == #"SET application_name TO E'''; drop table t; --\\'' \\'"#)
    // In some encodings the first byte would swallow the quote.
    #expect(query("application_name", from: "", to: "é'") == nil)
    #expect(query("application_name", from: "", to: "a\nb") == nil)
  }
}

@Suite struct CommandTagTests {
  @Test(arguments: [
    ("DISCARD ALL", true), ("DEALLOCATE ALL", true), ("DEALLOCATE", false), ("DELETE 3", false),
    ("DISCARD TEMP", false), ("SELECT 1", false), ("DISCARD ALL OF THAT AND MORE", false),
  ])
  func tagsAreReadHoweverTheyAreCut(tag: String, drops: Bool) {
    let body = Array(tag.utf8) + [0]
    let bytes = FrontendMessage.header(UInt8(ascii: "C"), bodyLength: UInt32(body.count)) + body
    for cut in 0...bytes.count {
      var walker = MessageWalker()
      var reader = CommandTag()
      var found = false
      for chunk in [bytes[..<cut], bytes[cut...]] {
        chunk.withUnsafeBytes { chunk in
          var position = 0
          while let part = walker.next(chunk, &position) { found = reader.isOfDroppedStatements(part) || found }
        }
      }
      #expect(found == drops, "\(tag) cut at \(cut)")
    }
  }
}
