import PostgresWire

extension RunningGateway {
  /// Closes all that `agent` has open at this proxy: its sessions with a word to their clients, and its tunnel.
  public func shutOut(agent: String, telling reason: String) {
    forEachWorker { $0.shutOut(agent: agent, telling: WireError(.adminShutdown, reason)) }
  }

  /// Ends all sessions that go through here, now.
  public func endSessions(telling reason: String) {
    forEachWorker { $0.endSessions(telling: WireError(.adminShutdown, reason)) }
  }

  private func forEachWorker(_ work: @escaping @Sendable (Worker) -> Void) {
    for mailbox in mailboxes {
      // Not to be lost for want of room: nobody would say it again.
      mailbox.post(evenIfFull: true) { reactor in
        if let worker = Worker.of(reactor) { work(worker) }
      }
    }
  }
}

extension Worker {
  fileprivate func shutOut(agent: String, telling error: WireError) {
    reactor.forEachChannel { channel in
      if let session = channel as? TunnelChannel {
        session.shutOut(agent, telling: error)
      } else if let control = channel as? TunnelControl {
        control.shutOut(agent)
      }
    }
  }

  fileprivate func endSessions(telling error: WireError) {
    reactor.forEachChannel { channel in
      (channel as? ClientLeg)?.endSession("host shut out", telling: error)
    }
  }
}
