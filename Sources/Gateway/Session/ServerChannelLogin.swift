import PostgresWire
import Reactor

/// Authentication at the database, and what it says before it is ready.
extension ServerChannel {
  func readLogin(_ bytes: UnsafeRawBufferPointer) {
    expectAnswer()
    do {
      try reader.append(bytes)
      while phase == .authentication || phase == .settling, let message = try reader.next() {
        try phase == .authentication ? authenticate(message) : settle(message)
      }
    } catch let failure as AuthenticationFailure {
      fail(failure.wireError(user: login.user), rejectedPassword: failure.isPasswordRejected)
    } catch let error as WireError {
      fail(WireError(.connectionFailure, "the database broke the protocol: \(error.message)"))
    } catch {
      fail(WireError(.internalError, "login at the database failed"))
    }
  }

  private func authenticate(_ message: BackendMessageReader.Message) throws {
    guard let step = try authentication?.handle(type: message.type, body: message.body) else { return }
    perform(step)
  }

  private func perform(_ step: ServerAuthentication.Step) {
    switch step {
    case .send(let bytes): write(bytes)
    case .wait: break
    case .authenticated: phase = .settling
    case .derive(let derivation):
      if let keys = login.rememberedKeys(derivation) { return derived(.success(keys)) }
      endWait()
      let (handle, mailbox, deriveKeys) = (handle, reactor.mailbox, login.deriveKeys)
      worker.gateway.pool.run {
        let keys = Result { () throws(AuthenticationFailure) in try deriveKeys(derivation) }
        // A full mailbox leaves the login to its deadline.
        mailbox.post { reactor in (reactor.channel(handle) as? ServerChannel)?.derived(keys) }
      }
    }
  }

  private func derived(_ keys: Result<ScramKeys, AuthenticationFailure>) {
    guard phase == .authentication else { return }
    do {
      guard let step = try authentication?.resume(with: keys.get()) else { return }
      perform(step)
      expectAnswer()
    } catch {
      fail(error.wireError(user: login.user))
    }
  }

  private func settle(_ message: BackendMessageReader.Message) throws {
    guard try collector.handle(type: message.type, body: message.body) else { return }
    phase = .ready
    authentication = nil
    endWait()
    // No byte of a session flows before its start is on record.
    pauseReceiving()
    pooled?.loggedIn(collector.greeting)
    owner?.serverLoggedIn(self)
  }

  /// What the database says between its ReadyForQuery and the session's beginning: little, if anything.
  func keep(_ bytes: UnsafeRawBufferPointer) {
    do {
      try reader.append(bytes)
    } catch {
      fail(WireError(.connectionFailure, "the database broke the protocol: \(error.message)"))
    }
  }
}
