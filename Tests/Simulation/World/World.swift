import Gateway
import Logging
import Reactor
import TLSTransport

/// Hosts on one simulated network, their reactors' turns taken one at a time in an order that the seed decides.
///
/// The gateways are the real ones, down to OpenSSL; clients, databases, decisions, clock and kernel are simulated.
package final class World {
  package struct Outcome: Sendable {
    package var violations: [String] = []
    package var hash: UInt64 = 0
    package var events = 0
    package var steps = 0
    package var sessions = 0
    package var completed = 0
    package var counts = FaultCounts()
    /// Virtual milliseconds.
    package var elapsed: UInt64 = 0
  }

  private enum HostNumber { static let peers = 9, proxy = 0, firstAgent = 1 }
  private enum Port { static let gateway: UInt16 = 3080, database: UInt16 = 5439, dead: UInt16 = 1 }

  private struct Host {
    let reactor: Reactor
    let backend: SimulatedBackend
    let isGateway: Bool

    func nextTime(_ now: UInt64) -> UInt64? {
      if backend.waker.isPending { return now }
      guard let timer = reactor.nextTimer else { return backend.nextTime }
      return min(timer, backend.nextTime ?? .max)
    }
  }

  package let network: SimulatedNetwork
  package let book = Book()
  package private(set) var clients: [Handle] = []
  /// Called as a client comes to a phase; before the client goes on.
  package var onPhase: ((Phase, SessionRecord) -> Void)?
  /// Called with each message that a database's session gets.
  package var onDatabaseMessage: ((UInt8) -> Void)?
  package private(set) var links: [Link] = []
  /// When it began, in virtual milliseconds.
  package let begin: UInt64

  private let plan: WorldPlan
  private let identities: Identities
  private var hosts: [Host] = []
  /// All of its reactors.
  package var reactors: [Reactor] { hosts.map(\.reactor) }
  private var pools: [SimulatedPool] = []
  private let records = TLSWorkspace()
  private let registry = TunnelRegistry()
  private let gatewayAddress: SocketAddress
  private let databaseAddress: SocketAddress
  private let deadAddress: SocketAddress
  private var databasesDialled = 0
  private var steps = 0
  private var waiting: (kind: Link.Kind, fault: Fault)?
  private var struckAt: UInt64?
  /// Virtual milliseconds from a strike to the moment at which no gateway had anything of a session any more.
  package private(set) var endedAfter: UInt64?
  private var isShutDown = false
  private var isAskedToShutDown = false
  private var jumps: [(at: UInt64, by: UInt64)]

  /// Virtual milliseconds by which every session has to be over, whatever happens to it: its lifetime and what may come
  /// before and after it.
  private static let limit: UInt64 = 1_500_000
  private static let agentTime: UInt64 = 60_000
  private static let maximumSteps = 3_000_000
  /// What may wait for one side: the mark at which the other is no longer read, one receive buffer of records, and a
  /// last word.
  private static let maximumQueue = (256 + 64 + 32) * 1024

  package init(_ plan: WorldPlan, _ identities: Identities) throws {
    guard let gateway = SocketAddress(ip: "10.0.0.1", port: Port.gateway),
      let database = SocketAddress(ip: "10.0.0.10", port: Port.database),
      let dead = SocketAddress(ip: "10.0.0.10", port: Port.dead)
    else { throw SystemError(call: "address", errno: 0) }
    (gatewayAddress, databaseAddress, deadAddress) = (gateway, database, dead)
    self.plan = plan
    self.identities = identities
    jumps = plan.jumps
    network = SimulatedNetwork(seed: plan.seed, temper: plan.temper)
    network.isDriven = true
    network.flawlessHost = HostNumber.peers
    network.kinds = [Port.gateway: .client, Port.database: .database]
    begin = network.now
    if plan.mailboxCapacity < 100 { network.counts.add(.fullMailbox) }
    try makePeers()
    try makeGateways()
    network.onDial = { [weak self] in self?.dialled($0) }
  }

  // MARK: Making

  private func makeHost(_ number: Int, index: Int, isGateway: Bool) throws -> Reactor {
    let backend = try SimulatedBackend(network, host: number)
    let reactor = Reactor(
      index: index, over: backend, mailboxCapacity: isGateway ? plan.mailboxCapacity : Reactor.mailboxCapacity)
    hosts.append(Host(reactor: reactor, backend: backend, isGateway: isGateway))
    return reactor
  }

  private func makePool() -> SimulatedPool {
    let (network, plan) = (network, plan)
    let pool = SimulatedPool(
      now: { network.now },
      delay: { kind in
        let limit = kind == .decision ? plan.decisionDelay : plan.reportDelay
        let drawn = UInt64.random(in: 0...limit, using: &network.random)
        if drawn > 1_000 { network.counts.add(kind == .decision ? .slowDecision : .lateReport) }
        return drawn
      }, pick: { Double.random(in: $0, using: &network.random) })
    pools.append(pool)
    return pool
  }

  private func makePeers() throws {
    let reactor = try makeHost(HostNumber.peers, index: 0, isGateway: false)
    let listener = PeerListener(reactor: reactor) { [unowned self] reactor in
      let conduct = plan.conducts[min(databasesDialled, plan.conducts.count - 1)]
      databasesDialled += 1
      if conduct.flaw != .none || conduct.login == .rejects { network.counts.add(.brokenDatabase) }
      if conduct.piece > 0 { network.counts.add(.slowWriter) }
      let channel = DatabaseChannel(
        reactor: reactor, records: records, book: book, conduct: conduct, context: identities.databaseServer)
      channel.onMessage = { [unowned self] in onDatabaseMessage?($0) }
      return channel
    }
    try reactor.add(listener, descriptor: try reactor.sockets.listen(on: databaseAddress))
    reactor.accept(listener)
  }

  private func makeGateways() throws {
    var settings = GatewaySettings(postgresTLS: identities.postgres, directTLS: identities.direct, http: nil)
    settings.stallDeadline = plan.stallDeadline
    switch plan.topology {
    case .direct(let reactors):
      _ = try startGateway(HostNumber.proxy, reactors: reactors, settings, isProxy: false, listens: true)
    case .tunnel(let proxyReactors, let agents):
      var proxy = settings
      let known = identities.agents.map(\.der)
      proxy.tunnel = TunnelEntrance(registry: registry) { certificate in
        known.firstIndex(of: certificate).map { "agent \($0)" }
      }
      _ = try startGateway(HostNumber.proxy, reactors: proxyReactors, proxy, isProxy: true, listens: true)
      for agent in 0..<agents { try startAgent(agent, settings) }
    }
  }

  /// Another agent, or the same one once more, as after a restart whose predecessor is not gone yet.
  package func startAgent(_ number: Int, host: Int) throws {
    let settings = GatewaySettings(postgresTLS: identities.postgres, directTLS: identities.direct, http: nil)
    try startAgent(number, settings, host: host)
  }

  private func startAgent(_ number: Int, _ settings: GatewaySettings, host: Int? = nil) throws {
    let running = try startGateway(
      host ?? HostNumber.firstAgent + number, reactors: 1, settings, isProxy: false, listens: false)
    let (address, contexts) = (gatewayAddress, identities.agentContexts[number])
    running.connect(to: [
      AgentSettings(
        proxy: "proxy:3080", serverName: Identities.serverName, contexts: { contexts }, databases: { ["dev"] },
        resolve: { [address] })
    ])
  }

  private func startGateway(
    _ number: Int, reactors count: Int, _ settings: GatewaySettings, isProxy: Bool, listens: Bool
  ) throws -> RunningGateway {
    let authorizer = SimulatedAuthorizer(
      network, plan, identities, book, databases: isProxy ? nil : (databaseAddress, deadAddress))
    let gateway = Gateway(
      settings: settings, authorizer: authorizer, pool: makePool(),
      logger: Logger(label: "simulated") { _ in SwiftLogNoOpLogHandler() })
    let reactors = try (0..<count).map { try makeHost(number, index: $0, isGateway: true) }
    return try gateway.start(on: listens ? [gatewayAddress] : [], reactors: reactors)
  }

  /// Clients come once an agent is there, or has had its time.
  private var awaitsAgents: Bool {
    plan.topology.hasTunnel && !registry.isServed("dev") && network.now < begin + Self.agentTime
  }

  /// A client that begins at its time from now.
  package func addClient(_ plan: ClientPlan) throws {
    let reactor = hosts[0].reactor
    let record = book.newSession()
    let client = SimulatedClient(
      reactor: reactor, records: records, record: record, plan: plan, identities: identities, target: gatewayAddress)
    client.onPhase = { [unowned self] phase in
      network.trace.note("phase", network.now, record.number, Phase.allCases.firstIndex(of: phase) ?? -1)
      onPhase?(phase, record)
    }
    client.onCancel = { [unowned self] key, plan in
      SimulatedCancel.send(key, plan, identities, to: gatewayAddress, reactor: hosts[0].reactor, records: records)
    }
    let descriptor = try reactor.sockets.open(gatewayAddress.family)
    try reactor.sockets.tuneForSession(descriptor)
    try reactor.add(client, descriptor: descriptor)
    clients.append(client.handle)
    client.begin()
    if plan.readPause > 0 { network.counts.add(.slowReader) }
    if plan.abandonAfter != nil { network.counts.add(.abandonment) }
    if plan.manner != .polite { network.counts.add(.rudeClient) }
  }

  /// Does `fault` to all connections of that kind that are open, or to the next one if there is none.
  package func strike(_ kind: Link.Kind, _ fault: Fault) {
    struckAt = struckAt ?? network.now
    let open = links.filter { $0.kind == kind && $0.isOpen }
    for link in open { network.strike(link, fault) }
    if open.isEmpty { waiting = (kind, fault) }
  }

  /// From now on counts the time until the sessions are over, as `strike` does.
  package func beginCounting() { struckAt = struckAt ?? network.now }

  private func dialled(_ link: Link) {
    links.append(link)
    link.cut = plan.cuts[link.number]
    link.split = plan.splits[link.number]
    if let waiting, waiting.kind == link.kind {
      self.waiting = nil
      strike(waiting.kind, waiting.fault)
    }
    if let drag = plan.drags[link.number] { network.strike(link, drag) }
  }

  // MARK: Running

  /// Runs until every session is over and what is left has said goodbye, then judges.
  ///
  /// - Parameter tamper: changes what was written down, before it is judged: to judge the judge.
  package func run(tamper: (Book) -> Void = { _ in }) throws -> Outcome {
    try runSessions()
    shutDown()
    settle()
    tamper(book)
    judge()
    var outcome = Outcome()
    outcome.violations = network.violations
    (outcome.hash, outcome.events, outcome.steps) = (network.trace.hash, network.trace.count, steps)
    outcome.sessions = book.sessions.count
    outcome.completed = book.sessions.count { $0.isComplete }
    outcome.counts = network.counts
    outcome.elapsed = network.now - begin
    return outcome
  }

  private func runSessions() throws {
    while awaitsAgents, step() {}
    for plan in plan.clients { try addClient(plan) }
    var deadline = network.now + Self.limit
    while steps < Self.maximumSteps {
      if let jump = jumps.first, network.now >= begin + jump.at {
        jumps.removeFirst()
        network.counts.add(.clockJump)
        network.jump(jump.by)
        deadline += jump.by
      }
      if isAskedToShutDown || (plan.shutdownAt.map { network.now >= begin + $0 } ?? false), !isShutDown {
        network.counts.add(.shutdown)
        shutDown()
      }
      if let struckAt, endedAfter == nil, areGatewaysQuiet { endedAfter = network.now - struckAt }
      if areSessionsOver { return rest() }
      guard network.now < deadline, step() else { break }
    }
    network.violate(
      "not over after \((network.now - begin) / 1000) s and \(steps) steps: "
        + "clients \(book.sessions.filter { !$0.isOver }.map(\.number)), gateways \(hosts.map { sample($0) })")
  }

  private var areSessionsOver: Bool { book.sessions.allSatisfy(\.isOver) && areGatewaysQuiet }

  private var areGatewaysQuiet: Bool {
    hosts.allSatisfy { !$0.isGateway || sample($0) == 0 } && !links.contains { $0.kind == .database && $0.isDialled }
  }

  /// Half of the worlds are shut down as soon as the sessions are over, half after a pause.
  private func rest() {
    guard network.happens(500) else { return }
    let end = network.now + 1_000
    while network.now < end, step() {}
  }

  private func sample(_ host: Host) -> Int { ReactorSample(host.reactor)?.clients ?? 0 }

  /// One turn of one reactor, or one piece of work of a pool. Returns `false` if nothing will ever happen again.
  private func step() -> Bool {
    steps += 1
    var ready: [Int] = []
    var next: UInt64?
    for index in 0..<(hosts.count + pools.count) {
      let time = index < hosts.count ? hosts[index].nextTime(network.now) : pools[index - hosts.count].nextTime
      guard let time else { continue }
      if time <= network.now { ready.append(index) }
      next = min(next ?? .max, time)
    }
    guard let next else { return false }
    guard !ready.isEmpty else {
      network.advance(to: next)
      return true
    }
    let chosen = ready.count == 1 ? ready[0] : ready[Int.random(in: 0..<ready.count, using: &network.random)]
    if chosen < hosts.count {
      hosts[chosen].reactor.turn(atMost: 0)
      if hosts[chosen].isGateway { checkQueues(hosts[chosen].reactor) }
    } else {
      pools[chosen - hosts.count].step { Int.random(in: 0..<$0, using: &network.random) }
    }
    return true
  }

  private func checkQueues(_ reactor: Reactor) {
    reactor.forEachChannel { channel in
      if channel.queuedBytes > Self.maximumQueue { network.violate("\(channel.queuedBytes) bytes wait for one peer") }
    }
  }

  // MARK: Ends

  /// As SIGTERM's last step: every gateway says goodbye.
  package func shutDown() {
    isShutDown = true
    for host in hosts where host.isGateway { host.reactor.sayGoodbye() }
  }

  /// Shuts down before the next turn; for who stands within one.
  package func shutDownSoon() { isAskedToShutDown = true }

  /// Lets goodbyes, reports and whatever else is under way come to an end.
  private func settle() {
    let end = network.now + 70_000
    while network.now < end, step() {}
    for host in hosts { host.reactor.closeAll() }
    // Decisions that came too late have still to be accounted for.
    var left = 10_000
    while let next = pools.compactMap(\.nextTime).min(), left > 0 {
      network.advance(to: max(network.now, next))
      for pool in pools { pool.step { Int.random(in: 0..<$0, using: &network.random) } }
      for host in hosts { host.reactor.turn(atMost: 0) }
      left -= 1
    }
  }

  private func judge() {
    for host in hosts {
      if host.isGateway, host.reactor.channelCount > 0 {
        network.violate("\(host.reactor.channelCount) channels are left")
      }
      host.backend.flush()
    }
    for number in Set(hosts.filter(\.isGateway).map(\.backend.host)) {
      let count = network.openSockets(of: number)
      if count > 0 { network.violate("\(count) sockets of host \(number) are left") }
    }
    Verdict(network, book, plan).judge()
  }
}
