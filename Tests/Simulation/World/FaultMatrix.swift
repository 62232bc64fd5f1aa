/// What befalls each link of a tunnelled session in each of its phases, and how long it then takes until the gateways
/// are rid of the session: the part of the matrix that plays below the gateways.
package enum FaultMatrix {
  package enum Wire: String, CaseIterable, Sendable {
    case clientProxy = "client-proxy"
    case agentProxy = "agent-proxy"
    case agentDatabase = "agent-database"

    var kind: Link.Kind {
      switch self {
      case .clientProxy: .client
      case .agentProxy: .tunnel
      case .agentDatabase: .database
      }
    }
  }

  package enum Blow: String, CaseIterable, Sendable {
    case reset = "RST"
    case end = "FIN"
    case blackHole = "black hole"
    case latency = "200 ms delay"
    case loss = "1 % loss"
    case slow = "1 KB/s"
    case corruption = "corrupt byte"
    case duplicate = "duplicate connect"

    var fault: Fault? {
      switch self {
      case .reset: .reset
      case .end: .end
      case .blackHole: .blackHole
      case .latency: .latency
      case .loss: .loss
      case .slow: .slowLink
      case .corruption: .corruption
      case .duplicate: nil
      }
    }

    /// Virtual seconds from the blow to the end of the session at every gateway.
    ///
    /// A connection that breaks is noticed at once, a byte that is corrupt when one comes: the sleeping query's answer takes
    /// 20 s. One that goes silent is noticed by TCP after 60 s, in a login after 10 s. Where bytes merely come late, the
    /// session goes on: the bound is what its work takes.
    package var bound: UInt64 {
      switch self {
      case .reset, .end: 1
      case .corruption: 30
      case .blackHole: 70
      case .latency, .loss, .duplicate: 45
      case .slow: 90
      }
    }

    /// Whether the session has to be completed all the same.
    var isSurvived: Bool {
      switch self {
      case .latency, .loss, .slow, .duplicate: true
      case .reset, .end, .blackHole, .corruption: false
      }
    }
  }

  /// The links whose other end is no reactor's: the Auth Service's API and AWS are HTTP clients and servers of libraries.
  /// They need processes and real sockets: Tests/EndToEnd/survived/test_control_links.py plays their cells.
  package static let elsewhere = ["agent/proxy-Auth Service", "agent-AWS"]

  package struct Cell: Sendable {
    package let wire: Wire
    package let blow: Blow
    package let phase: Phase
    /// Whether the session was completed, or what its client was told or saw.
    package let result: String
    /// Virtual milliseconds from the blow to the end at the gateways; `nil`: the phase was not reached.
    package let milliseconds: UInt64?
    package let violations: [String]

    package var isWithinBound: Bool {
      violations.isEmpty && (milliseconds ?? .max) <= blow.bound * 1000
    }
  }

  package static func run(_ wire: Wire, _ blow: Blow, _ phase: Phase, _ identities: Identities) throws -> Cell {
    var plan = WorldPlan(seed: 7)
    plan.isBenign = false
    plan.topology = .tunnel(proxyReactors: 1, agents: 1)
    plan.clients = [client(for: phase)]
    // Slow enough that the fault finds rows still to come.
    if phase == .copyOut { (plan.conducts[0].piece, plan.conducts[0].pause) = (1_000, 50) }
    let world = try World(plan, identities)
    var violations: [String] = []
    var isStruck = false
    world.onPhase = { [unowned world] reached, session in
      // A shutdown finds a query under way.
      guard session.number == 0, reached == (phase == .shutdown ? .query : phase), !isStruck else { return }
      isStruck = true
      do {
        try strike(world, wire, blow)
      } catch {
        violations.append("\(error)")
      }
      if phase == .shutdown { world.shutDownSoon() }
    }
    let outcome = try world.run()
    violations += outcome.violations
    let session = world.book.sessions[0]
    if blow.isSurvived, phase != .shutdown, !session.isComplete {
      violations.append("not completed: \(session.refusal ?? "cut")")
    }
    let result = session.isComplete ? "completed" : session.refusal.map(Self.state) ?? "closed"
    return Cell(
      wire: wire, blow: blow, phase: phase, result: result, milliseconds: world.endedAfter, violations: violations)
  }

  private static func strike(_ world: World, _ wire: Wire, _ blow: Blow) throws {
    if let fault = blow.fault { return world.strike(wire.kind, fault) }
    world.beginCounting()
    if wire == .agentProxy { return try world.startAgent(0, host: 5) }
    var twin = client(for: .idle)
    twin.user = wire == .clientProxy ? 0 : 1
    try world.addClient(twin)
  }

  private static func client(for phase: Phase) -> ClientPlan {
    var client = ClientPlan()
    switch phase {
    case .startup, .authentication: client.requests = [.rows(5, size: 100)]
    case .idle:
      client.requests = [.rows(5, size: 100)]
      client.thinkTime = 3_000
    case .query, .shutdown: client.requests = [.sleep]
    case .copyIn: client.requests = [.copyIn(20, size: 500)]
    case .copyOut: client.requests = [.copyOut(20, size: 500)]
    case .cancel:
      client.requests = [.sleep]
      client.cancelAfter = 500
    }
    return client
  }

  /// The SQLSTATE of an ErrorResponse as a client keeps it.
  private static func state(_ refusal: String) -> String {
    refusal.split(separator: " ").first { $0.hasPrefix("C") && $0.count == 6 }.map { String($0.dropFirst()) }
      ?? "closed"
  }
}
