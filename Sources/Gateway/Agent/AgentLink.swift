import Reactor
import TunnelWire

/// Keeps an agent connected to one proxy: dials, spreads the news over the reactors, tries again.
///
/// Bound to the thread of the agent's first reactor.
final class AgentLink {
  let settings: AgentSettings
  /// Holds this.
  private unowned let worker: Worker
  /// Dials since the last success: the back-off grows with it.
  private(set) var attempts = 0
  /// Whether the proxy is among those of the cluster. One that is not is given up when its connection breaks, not
  /// before: the list may be wrong for a moment, after the Auth Service was away.
  fileprivate var isWanted = true
  fileprivate weak var control: AgentControl?

  private static let shortestPause = 0.5
  private static let longestPause = 30.0

  init(settings: AgentSettings, worker: Worker) {
    self.settings = settings
    self.worker = worker
  }

  /// Resolves the proxy's name on the pool and dials.
  func dial() {
    guard isWanted, !worker.isDraining else { return forget() }
    let (settings, mailbox, proxy) = (settings, worker.reactor.mailbox, settings.proxy)
    worker.gateway.pool.run {
      let found: Result<[SocketAddress], any Error> = Result { try settings.resolve() }
      // Lost, it would be the last attempt.
      mailbox.post(evenIfFull: true) { reactor in
        guard let worker = Worker.of(reactor), let link = worker.agentLinks[proxy] else { return }
        switch found {
        case .success(let addresses) where !addresses.isEmpty:
          link.control = AgentControl.dial(addresses, link, worker: worker)
        case .success: link.lost("its name has no address")
        case .failure(let error): link.lost("\(error)")
        }
      }
    }
  }

  func connected(_ addresses: [SocketAddress], proxyReactors: Int) {
    attempts = 0
    worker.gateway.note("connected to proxy \(settings.proxy)")
    let settings = settings
    onEachWorker { worker in
      guard !worker.isDraining else { return }
      let pool = AgentPool(worker: worker, settings: settings, addresses: addresses, proxyReactors: proxyReactors)
      worker.agentPools[settings.proxy] = pool
      pool.fill()
    }
  }

  /// The control connection broke, or could not be made.
  func lost(_ reason: String) {
    let proxy = settings.proxy
    onEachWorker { $0.agentPools.removeValue(forKey: proxy)?.stop() }
    guard isWanted, !worker.isDraining else { return forget() }
    let ceiling = min(Self.longestPause, Self.shortestPause * Double(1 << min(attempts, 10)))
    attempts += 1
    worker.gateway.warn("not connected to proxy \(proxy): \(reason); next attempt in \(ceiling) s at most")
    let mailbox = worker.reactor.mailbox
    // Half of the pause is chance: agents that lost the same proxy come back one by one.
    worker.gateway.pool.run(after: ceiling / 2...ceiling) {
      mailbox.post(evenIfFull: true) { reactor in Worker.of(reactor)?.agentLinks[proxy]?.dial() }
    }
  }

  private func forget() { worker.agentLinks[settings.proxy] = nil }

  /// Tells the proxy at once what is served, how busy this agent is and whether it drains.
  func announce() { control?.announce() }

  // MARK: Orders

  func want(_ count: Int, at reactor: Int) {
    let proxy = settings.proxy
    // Shared out: each reactor dials its part.
    let share = (count + worker.reactorCount - 1) / worker.reactorCount
    onEachWorker { $0.agentPools[proxy]?.want(share, at: reactor) }
  }

  func refill() {
    let proxy = settings.proxy
    onEachWorker { $0.agentPools[proxy]?.fill() }
  }

  func cancel(_ session: SessionToken) {
    onEachWorker { worker in
      guard let handle = worker.tunnelled[session] else { return }
      (worker.reactor.channel(handle) as? ClientLeg)?.cancelQuery(askedWith: nil, from: "")
    }
  }

  private func onEachWorker(_ work: @escaping @Sendable (Worker) -> Void) {
    for mailbox in worker.peers.all {
      mailbox.post { reactor in
        if let worker = Worker.of(reactor) { work(worker) }
      }
    }
  }
}

extension RunningGateway {
  /// Tells the proxies at once what is served now; they would hear it with the next heartbeat.
  public func announceDatabases() {
    mailboxes.first?.post(evenIfFull: true) { reactor in
      guard let worker = Worker.of(reactor) else { return }
      for link in worker.agentLinks.values { link.announce() }
    }
  }

  /// Digs tunnels to these proxies from now on. A tunnel to another one goes on until it breaks.
  public func connect(to proxies: [AgentSettings]) {
    guard let first = mailboxes.first else { return }
    first.post(evenIfFull: true) { reactor in
      guard let worker = Worker.of(reactor), !worker.isDraining else { return }
      let names = Set(proxies.map(\.proxy))
      for link in worker.agentLinks.values { link.isWanted = names.contains(link.settings.proxy) }
      for settings in proxies where worker.agentLinks[settings.proxy] == nil {
        let link = AgentLink(settings: settings, worker: worker)
        worker.agentLinks[settings.proxy] = link
        link.dial()
      }
    }
  }
}
