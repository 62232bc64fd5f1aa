import Gateway
import Reactor
import TestSupport

/// What one simulated world is made of and what goes wrong in it; all drawn from a seed, or put together by a test.
package struct WorldPlan: Sendable {
  package enum Topology: Sendable, Equatable {
    /// Clients, one gateway, databases.
    case direct(reactors: Int)
    /// Clients, a proxy, agents that tunnel to it, databases.
    case tunnel(proxyReactors: Int, agents: Int)

    var hasTunnel: Bool { if case .tunnel = self { true } else { false } }
  }

  package var seed: UInt64
  package var topology = Topology.direct(reactors: 1)
  package var temper = Temper.calm
  package var clients: [ClientPlan] = []
  /// How databases behave, one after the other as connections come; the last goes on.
  package var conducts: [DatabaseConduct] = [DatabaseConduct()]
  /// What befalls connections, in the order of their dialling; `nil` for none.
  package var cuts: [Int: Link.Cut] = [:]
  /// Where receives of a connection stop short.
  package var splits: [Int: (direction: Int, offset: Int)] = [:]
  /// Faults that slow a connection down.
  package var drags: [Int: Fault] = [:]
  /// Nothing in this plan may keep a session from being completed.
  package var isBenign = true

  /// Milliseconds a decision, a report takes at most.
  package var decisionDelay: UInt64 = 5
  package var reportDelay: UInt64 = 5
  /// Chances in a thousand of the authorizer.
  package var refusals = 0
  package var deadAddresses = 0
  package var lateRefusals = 0
  package var mailboxCapacity = Reactor.mailboxCapacity
  /// When the clock jumps, and by how much.
  package var jumps: [(at: UInt64, by: UInt64)] = []
  package var shutdownAt: UInt64?
  package var idleTimeout: UInt64?
  package var lifetime: UInt64? = 600_000
  package var stallDeadline: UInt64 = 120_000

  package init(seed: UInt64) { self.seed = seed }
}

extension WorldPlan {
  /// The world of a seed.
  package static func drawn(from seed: UInt64) -> WorldPlan {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<8 { _ = random.next() }
    var plan = WorldPlan(seed: seed)
    plan.isBenign = Int.random(in: 0..<3, using: &random) == 0
    // However slow the world, a session that has to be completed may last as long as that takes.
    if plan.isBenign { plan.lifetime = nil }
    plan.topology =
      Int.random(in: 0..<3, using: &random) == 0
      ? .tunnel(
        proxyReactors: Int.random(in: 1...2, using: &random), agents: Int.random(in: 1...2, using: &random))
      : .direct(reactors: Int.random(in: 1...2, using: &random))
    plan.drawTemper(&random)
    let count = [1, 1, 1, 2, 3][Int.random(in: 0..<5, using: &random)]
    plan.clients = (0..<count).map { _ in plan.drawClient(&random) }
    plan.conducts = (0..<count).map { _ in plan.drawConduct(&random) }
    if Int.random(in: 0..<4, using: &random) == 0 {
      plan.idleTimeout = UInt64.random(in: 5_000...60_000, using: &random)
    }
    if !plan.isBenign { plan.drawFaults(&random) } else { plan.idleTimeout = nil }
    return plan
  }

  private mutating func drawTemper(_ random: inout SeededGenerator) {
    func chance(_ limit: Int) -> Int {
      Int.random(in: 0..<2, using: &random) == 0 ? 0 : Int.random(in: 1...limit, using: &random)
    }
    temper.shortRead = chance(500)
    temper.shortWrite = chance(500)
    temper.wouldBlock = chance(100)
    temper.lateCompletion = chance(100)
    temper.reorder = chance(500)
    temper.readAfterClose = chance(500)
    temper.latency = [0, 2, 2, 20, 100][Int.random(in: 0..<5, using: &random)]
    temper.window = [512, 4_096, 65_536, 65_536, 1 << 20][Int.random(in: 0..<5, using: &random)]
    decisionDelay = [0, 5, 5, 500][Int.random(in: 0..<4, using: &random)]
    reportDelay = [0, 5, 2_000][Int.random(in: 0..<3, using: &random)]
    temper.acceptFailure = Int.random(in: 0..<6, using: &random) == 0 ? 200 : 0
    guard !isBenign else { return }
    func rarely(_ limit: Int) -> Int {
      Int.random(in: 0..<6, using: &random) == 0 ? Int.random(in: 1...limit, using: &random) : 0
    }
    temper.socketFailure = rarely(300)
    temper.tuneFailure = rarely(200)
    temper.dialRefused = rarely(300)
    temper.dialUnanswered = rarely(200)
    if Int.random(in: 0..<10, using: &random) == 0 { decisionDelay = 40_000 }
  }

  private func drawClient(_ random: inout SeededGenerator) -> ClientPlan {
    var client = ClientPlan()
    func oneIn(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }
    client.user = Int.random(in: 0...1, using: &random)
    client.isDirect = oneIn(3)
    client.start = UInt64.random(in: 0...200, using: &random)
    let isFast = temper.window >= 65_536 && temper.latency <= 2 && temper.shortRead + temper.shortWrite == 0
    client.requests = (0..<Int.random(in: 0...4, using: &random)).map { _ in
      Self.drawRequest(&random, mayBeLarge: !isBenign || isFast)
    }
    client.ending = [.terminate, .terminate, .closeNotify, .abort][Int.random(in: 0..<4, using: &random)]
    if oneIn(3) { client.thinkTime = UInt64.random(in: 1...3_000, using: &random) }
    if oneIn(4), !isFast || !isBenign { client.readPause = UInt64.random(in: 1...40, using: &random) }
    if oneIn(4), !isFast || !isBenign {
      client.piece = Int.random(in: 1...400, using: &random)
      client.pause = UInt64.random(in: 1...5, using: &random)
    }
    client.cancelAfter = oneIn(3) ? nil : UInt64.random(in: 0...2_000, using: &random)
    client.cancelsInTheClear = oneIn(2)
    client.guesses = oneIn(4)
    guard !isBenign else {
      if client.ending == .abort { client.ending = .terminate }
      return client
    }
    if oneIn(5) { client.abandonAfter = UInt64.random(in: 0...5_000, using: &random) }
    if oneIn(5) {
      let manners: [ClientPlan.Manner] = [
        .garbage, .startupInTheClear, .noCertificate, .impatient,
        .breaksProtocol(Int.random(in: 1...3, using: &random)),
        .stopsInMessage, .silent,
      ]
      client.manner = manners[Int.random(in: 0..<manners.count, using: &random)]
    }
    if oneIn(12) { client.ending = .wait }
    return client
  }

  /// - Parameter mayBeLarge: where that takes no longer than a certificate lasts.
  private static func drawRequest(_ random: inout SeededGenerator, mayBeLarge: Bool) -> Request {
    switch Int.random(in: 0..<12, using: &random) {
    case 0...2: .rows(Int.random(in: 0...20, using: &random), size: Int.random(in: 0...200, using: &random))
    case 3: .rows(1, size: Int.random(in: 1...40_000, using: &random))
    case 4: .extended(3, size: 40)
    case 5: .error
    case 6: .copyIn(Int.random(in: 0...10, using: &random), size: Int.random(in: 0...2_000, using: &random))
    case 7: .copyOut(Int.random(in: 0...20, using: &random), size: Int.random(in: 0...2_000, using: &random))
    case 8: .pipeline(Int.random(in: 1...5, using: &random))
    case 9: .sleep
    case 10 where mayBeLarge && Int.random(in: 0..<8, using: &random) == 0: .copyOut(40, size: 16_000)
    case 11 where mayBeLarge && Int.random(in: 0..<8, using: &random) == 0: .copyIn(40, size: 16_000)
    default: .rows(1, size: 1)
    }
  }

  private func drawConduct(_ random: inout SeededGenerator) -> DatabaseConduct {
    var conduct = DatabaseConduct()
    func oneIn(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }
    if oneIn(3) { conduct.login = .cleartext }
    if oneIn(4) {
      conduct.piece = Int.random(in: 100...5_000, using: &random)
      conduct.pause = UInt64.random(in: 1...5, using: &random)
    }
    guard !isBenign else { return conduct }
    if oneIn(12) { conduct.login = oneIn(2) ? .rejects : .asksForScram }
    guard oneIn(4) else { return conduct }
    let count = Int.random(in: 1...4, using: &random)
    let flaws: [DatabaseConduct.Flaw] = [
      .silentBeforeTLS, .silentBeforeLogin, .silentBeforeReady, .refusesTLS, .speaksInTheClear, .breaksProtocol(count),
      .leaves(count, inMessage: false), .leaves(count, inMessage: true),
    ]
    conduct.flaw = flaws[Int.random(in: 0..<flaws.count, using: &random)]
    return conduct
  }

  private mutating func drawFaults(_ random: inout SeededGenerator) {
    func oneIn(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }
    for link in 0..<(topology == .direct(reactors: 1) ? 4 : 16) {
      if oneIn(6) {
        let limits = [200, 2_000, 6_000, 6_000, 100_000]
        let limit = limits[Int.random(in: 0..<limits.count, using: &random)]
        let faults: [Fault] = [.reset, .reset, .end, .blackHole, .corruption]
        cuts[link] = Link.Cut(
          direction: Int.random(in: 0...1, using: &random), offset: Int.random(in: 0...limit, using: &random),
          fault: faults[Int.random(in: 0..<faults.count, using: &random)])
      }
      if oneIn(12) { drags[link] = [Fault.latency, .loss, .slowLink][Int.random(in: 0..<3, using: &random)] }
    }
    if oneIn(6) { refusals = 300 }
    if oneIn(6) { deadAddresses = 500 }
    if oneIn(8) { lateRefusals = 300 }
    if oneIn(6) { mailboxCapacity = Int.random(in: 0...2, using: &random) }
    if oneIn(5) {
      jumps = (0..<Int.random(in: 1...3, using: &random)).map { _ in
        (
          UInt64.random(in: 0...6_000, using: &random),
          [1_000, 20_000, 3_600_000][Int.random(in: 0..<3, using: &random)]
        )
      }
      jumps.sort { $0.at < $1.at }
    }
    if oneIn(6) { shutdownAt = UInt64.random(in: 0...5_000, using: &random) }
  }
}
