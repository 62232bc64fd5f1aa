/// Conversations whose outcome must not depend on how their bytes are cut, nor their safety on where they break off.
package enum Golden: String, CaseIterable, Sendable {
  case simpleQuery, extended, copyIn, copyOut, error, cancel, rowOfTwoRecords, largeRow

  private var requests: [Request] {
    switch self {
    case .simpleQuery: [.rows(3, size: 20)]
    case .extended: [.extended(3, size: 40)]
    case .copyIn: [.copyIn(3, size: 100)]
    case .copyOut: [.copyOut(3, size: 100)]
    case .error: [.error]
    case .cancel: [.sleep]
    case .rowOfTwoRecords: [.rows(1, size: 20_000)]
    case .largeRow: [.rows(1, size: 100_000)]
    }
  }

  /// What either side saw.
  package struct Result: Equatable, Sendable {
    package var answers: [UInt8] = []
    package var requests: [UInt8] = []
    package var violations: [String] = []
    /// Bytes on the wire: of the client's link and the database's, in each direction.
    package var carried: [[Int]] = []
  }

  private var plan: WorldPlan {
    var plan = WorldPlan(seed: 1)
    var client = ClientPlan()
    client.requests = requests
    client.cancelAfter = 2_000
    plan.clients = [client]
    return plan
  }

  /// Runs the conversation with changes to its plan.
  package func run(_ identities: Identities, _ change: (inout WorldPlan) -> Void = { _ in }) throws -> Result {
    var plan = self.plan
    change(&plan)
    let world = try World(plan, identities)
    let outcome = try world.run()
    let session = world.book.sessions[0]
    return Result(
      answers: session.clientReceived, requests: session.databases.last?.received ?? [],
      violations: outcome.violations, carried: world.links.prefix(2).map(\.carried))
  }

  /// Every place at which one of the four streams can be cut: link, direction, offset.
  package static func places(in whole: Result) -> [(link: Int, direction: Int, offset: Int)] {
    whole.carried.indices.flatMap { link in
      whole.carried[link].indices.flatMap { direction in
        (1..<max(1, whole.carried[link][direction])).map { (link, direction, $0) }
      }
    }
  }
}
