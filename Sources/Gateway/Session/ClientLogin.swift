import PostgresWire
import Reactor
import TunnelWire

/// The login of a client: decision, connection, record of its start.
extension ClientLeg {
  /// Begins the login of whoever `certificate` (verified, DER) speaks for.
  func login(_ parameters: StartupParameters, certificate: [UInt8]) {
    startup = parameters
    phase = .login
    loginDeadline = reactor.startTimer(for: self, tag: Tag.login.rawValue, after: worker.settings.loginDeadline)
    authorize(
      SessionRequest(
        certificate: certificate, user: parameters.user, database: parameters.database,
        wantsReplication: parameters.wantsReplication, applicationName: parameters.applicationName,
        clientAddress: address, control: SessionControl(session: handle, mailbox: reactor.mailbox)))
  }

  private func authorize(_ request: SessionRequest) {
    asked = request
    let (handle, mailbox, gateway) = (handle, reactor.mailbox, worker.gateway)
    gateway.pool.run {
      let decision = await gateway.authorizer.authorize(request)
      let isPosted = mailbox.post { reactor in
        guard let client = reactor.channel(handle) as? ClientLeg else { return gateway.abandon(decision) }
        client.decided(decision)
      }
      // With a full mailbox the client is left to its deadline.
      if !isPosted { gateway.abandon(decision) }
    }
  }

  private func decided(_ decision: Result<SessionRoute, WireError>) {
    guard phase == .login else { return worker.gateway.abandon(decision) }
    switch decision {
    case .failure(let error): refuse(error)
    case .success(let route):
      do {
        try begin(route)
      } catch {
        refuse(error)
      }
    }
  }

  private func begin(_ route: SessionRoute) throws(WireError) {
    guard let startup, let request = asked else { return }
    switch route {
    case .database(let grant):
      self.grant = grant
      grantedAt = reactor.now
      let packet = try startup.relayed(
        user: grant.login.user, database: grant.database, replication: startup.wantsReplication)
      guard let plan = grant.pool, !startup.wantsReplication else {
        return ServerChannel.dial(grant.login, startup: packet, owner: self, worker: worker)
      }
      join(plan, startup: packet, grant.login)
    case .agents(let database):
      let packet = try startup.relayed(
        user: startup.user, database: startup.database, replication: startup.wantsReplication)
      worker.tunnels.open(
        database, for: self,
        OpenRequest(
          session: .random(), certificate: request.certificate, clientAddress: address, startup: packet))
    }
  }

  private func join(_ plan: PoolPlan, startup: [UInt8], _ login: ServerLogin) {
    switch plan.settings.mode {
    case .session:
      PoolAttempt(
        membership: PoolMembership(key: PoolKey(plan, startup: startup), plan: plan), login: login, owner: self,
        worker: worker
      ).run()
    case .transaction:
      let pool = worker.pools.sharedPool(plan, startup: startup, worker)
      let session = TransactionSession(self, pool)
      transactions = session
      pool.admit(session, plan)
    }
  }

  /// The server leg was opened (again, when an earlier address did not answer).
  func attach(_ server: ServerLeg) { self.server = server }

  /// There is none, until the next transaction.
  func detach() { server = nil }

  /// The database refused or could not be reached.
  func serverFailed(_ error: WireError, rejectedPassword: Bool, at link: LoginLink? = nil) {
    guard phase == .login else { return }
    server = nil
    var error = error
    if let grant {
      if let link { error = error.at(link, session: grant.sessionID) }
      worker.gateway.report { [error] in $0.sessionStarted(grant.sessionID, failure: error) }
      self.grant = nil
      if rejectedPassword, grant.login.isPasswordCached, var request = asked, request.rejectedPassword == nil {
        request.rejectedPassword = grant.login.password
        return authorize(request)
      }
    }
    refuse(error)
  }

  /// The database let us in, now or for an earlier client. The session begins once that is on record.
  func serverLoggedIn(_ server: ServerChannel) {
    if phase == .login { recordStart() } else { server.close() }
  }

  /// The pool has connections for the session, and its database says that of itself.
  func poolReady(_ greeting: ServerGreeting) {
    guard phase == .login else { return }
    poolGreeting = greeting
    recordStart()
  }

  /// The pool has none.
  func poolFailed(_ error: WireError, at link: LoginLink?) {
    guard phase != .login, let grant else { return serverFailed(error, rejectedPassword: false, at: link) }
    endSession("no connection to the database", telling: link.map { error.at($0, session: grant.sessionID) } ?? error)
  }

  private func recordStart() {
    guard let grant else { return }
    let (handle, mailbox, gateway, sessionID) = (handle, reactor.mailbox, worker.gateway, grant.sessionID)
    gateway.pool.run {
      gateway.authorizer.sessionStarting(sessionID) { refusal in
        // A full mailbox leaves the login to its deadline.
        mailbox.post { reactor in (reactor.channel(handle) as? ClientLeg)?.recorded(refusal, of: sessionID) }
      }
    }
  }

  private func recorded(_ refusal: WireError?, of sessionID: String) {
    guard phase == .login, grant?.sessionID == sessionID else { return }
    if let refusal {
      server?.clientEnded()
      serverFailed(refusal, rejectedPassword: false)
    } else if let poolGreeting {
      self.poolGreeting = nil
      begin(poolGreeting)
    } else {
      (server as? ServerChannel)?.begin(for: self)
    }
  }

  /// The session begins.
  func serverReady(_ greeting: ServerGreeting, from server: ServerLeg) {
    if phase == .login { begin(greeting) } else { server.close() }
  }

  private func begin(_ greeting: ServerGreeting) {
    announceReady(greeting)
    phase = .relay
    worker.counters.sessionsStarted &+= 1
    endLogin()
    startup = nil
    asked = nil
    lastHeard = reactor.now
    // Behind a tunnel, the agent sees to the limits of the session and to its records.
    guard let grant else { return }
    recorder = worker.recorder(for: grant)
    if let idle = grant.idleTimeout { idleLimit = reactor.startTimer(for: self, tag: Tag.idle.rawValue, after: idle) }
    if let lifetime = grant.lifetime {
      let used = min(lifetime, reactor.now - grantedAt)
      lifetimeLimit = reactor.startTimer(for: self, tag: Tag.lifetime.rawValue, after: lifetime - used)
    }
    worker.gateway.report { $0.sessionStarted(grant.sessionID, failure: nil) }
  }

  func endLogin() {
    if let loginDeadline { reactor.cancel(loginDeadline) }
    loginDeadline = nil
    loginOver()
  }
}
