import Testing

@testable import DatabaseService

@Suite struct PreparedStatementsTests {
  private func statement(_ name: String, _ query: String = "select 1") -> PreparedStatements.Statement {
    .init(name: Array(name.utf8), query: Array(query.utf8), length: query.utf8.count)
  }

  @Test(.timeLimit(.minutes(1))) func aNameThatIsGivenAgainAndAgainTakesOnePlace() {
    var statements = PreparedStatements()
    statements.put(statement("kept"))
    for round in 0..<200_000 {
      statements.put(statement("again", "select \(round)"))
      if round % 2 == 0 { statements.remove(statement: Array("again".utf8)) }
    }
    #expect(statements.places <= 2 * PreparedStatements.maximumStatements)
    #expect(statements.statement(Array("again".utf8))?.query == Array("select 199999".utf8))
    #expect(statements.statement(Array("kept".utf8)) != nil)
  }

  @Test func theOldestIsForgottenFirst() {
    var statements = PreparedStatements()
    for number in 0..<3000 { statements.put(statement("s\(number)")) }
    #expect(statements.statement(Array("s1999".utf8)) == nil && statements.statement(Array("s2000".utf8)) != nil)
  }
}
