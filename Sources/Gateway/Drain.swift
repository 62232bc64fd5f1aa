import PostgresWire
import Reactor

extension RunningGateway {
  /// Closes the listeners and lets what runs come to its end; `stop()` is the next step.
  ///
  /// New connections are refused by the kernel from here on. A session that has nothing under way (outside a
  /// transaction, every request answered) and has been silent for `silence` is ended with FATAL 57P01, since a pool would
  /// keep it open for ever; all others go on. In the last quarter of `limit` every session ends as soon as it has nothing
  /// under way: whoever never pauses would else be cut off within a transaction in the end.
  ///
  /// - Returns: how many connections are left after `limit`, or when the task was cancelled.
  public func drain(within limit: Duration, silence: Duration = .seconds(5)) async -> Int {
    let deadline = ContinuousClock.now + limit
    let lastCall = deadline - limit / 4
    mailboxes.first?.post(evenIfFull: true) { reactor in Worker.of(reactor)?.leaveTunnels() }
    let milliseconds = UInt64(max(0, silence / .milliseconds(1)))
    while true {
      let isLastCall = ContinuousClock.now >= lastCall
      let left = await ask(within: .seconds(1)) { $0.drain(silentFor: isLastCall ? 0 : milliseconds) }
      // A reactor too busy to answer has sessions.
      let count = left.reduce(0) { $0 + ($1 ?? 1) }
      guard count > 0, ContinuousClock.now < deadline else { return count }
      do {
        try await Task.sleep(for: .milliseconds(200))
      } catch {
        return count
      }
    }
  }
}

extension Worker {
  /// On an agent's first reactor: asks the proxies to send clients elsewhere.
  func leaveTunnels() {
    gateway.agentLoad.drain()
    for link in agentLinks.values { link.announce() }
  }

  /// One look around during the drain. Returns how many client connections are left, an agent's sessions among them.
  func drain(silentFor silence: UInt64) -> Int {
    isDraining = true
    endsSessionsWhenIdle = silence == 0
    for pool in agentPools.values { pool.stop() }
    pools.drain()
    reactor.forEachChannel { channel in
      if let listener = channel as? Listener {
        listener.close()
      } else if let client = channel as? ClientLeg {
        client.drain(silentFor: silence)
      }
    }
    return clientCount + tunnelled.count
  }

  static let shutdown = WireError(
    .adminShutdown, "the server is shutting down", hint: "Connect again in a moment.")
}
