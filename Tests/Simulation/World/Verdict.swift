/// Judges what a world's clients and databases wrote and read, and what its gateways reported.
struct Verdict {
  private let network: SimulatedNetwork
  private let book: Book
  private let plan: WorldPlan

  init(_ network: SimulatedNetwork, _ book: Book, _ plan: WorldPlan) {
    self.network = network
    self.book = book
    self.plan = plan
  }

  func judge() {
    for session in book.sessions {
      judge(session)
      session.clientReceived.withUnsafeBytes { network.trace.note($0) }
    }
    for name in book.grantNames { judgeGrant(name) }
    if book.strayCancels > 0 { network.violate("\(book.strayCancels) cancels came with a key of no session") }
  }

  private func judge(_ session: SessionRecord) {
    let name = "session \(session.number)"
    for database in session.databases {
      database.received.withUnsafeBytes { network.trace.note($0) }
      if database.cancels > 0, !session.mayBeCancelled { network.violate("\(name) was cancelled by nobody of its own") }
    }
    let ready = session.databases.filter(\.isReady)
    guard session.isReady else {
      if !session.clientReceived.isEmpty || ready.contains(where: { !$0.received.isEmpty && !isGoodbye($0.received) }) {
        network.violate("\(name): bytes flowed before the login was complete")
      }
      if plan.isBenign { network.violate("\(name) did not come to be: \(session.refusal ?? "no reason given")") }
      return
    }
    // Of several databases that were dialled and let the session in, it is joined to the last.
    guard let database = ready.last else { return network.violate("\(name) began without a database") }
    for other in ready.dropLast() where !other.received.isEmpty && !isGoodbye(other.received) {
      network.violate("\(name): bytes went to a database that was given up")
    }
    if session.clientParameters != database.parameters { network.violate("\(name): parameters differ") }
    judgeRequests(name, session.clientSent, database.received)
    judgeAnswers(name, session.clientReceived, database.sent)
    guard plan.isBenign else { return }
    if !session.isComplete { network.violate("\(name) was not completed: \(session.refusal ?? "no reason given")") }
    if database.sent != session.clientReceived { network.violate("\(name): answers are missing") }
    if !database.received.starts(with: session.clientSent) { network.violate("\(name): requests are missing") }
  }

  private func isGoodbye(_ bytes: [UInt8]) -> Bool { bytes == Say.terminate }

  /// A database gets what its client sent, up to where it was cut; a Terminate in the name of a client that left may
  /// follow, between two messages.
  private func judgeRequests(_ name: String, _ sent: [UInt8], _ received: [UInt8]) {
    if sent.starts(with: received) { return }
    let body = received.dropLast(Say.terminate.count)
    guard received.suffix(Say.terminate.count) == Say.terminate[...], sent.starts(with: body) else {
      return network.violate("\(name): the database got what its client did not send")
    }
    let boundary = body.isEmpty || MessageSplitter.split(Array(body)).last?.end == body.count
    if !boundary { network.violate("\(name): a Terminate was put into a message") }
  }

  /// A client gets what its database sent, up to where it was cut; a FATAL error may follow, between two messages.
  private func judgeAnswers(_ name: String, _ received: [UInt8], _ sent: [UInt8]) {
    if sent.starts(with: received) { return }
    var start = 0
    for message in MessageSplitter.split(received) {
      let isOwn = message.end <= sent.count && received[start..<message.end] == sent[start..<message.end]
      if !isOwn {
        let text = String(decoding: message.body, as: UTF8.self)
        guard message.type == UInt8(ascii: "E"), text.hasPrefix("SFATAL\0"), message.end == received.count else {
          return network.violate("\(name): the client got what its database did not send")
        }
        return
      }
      start = message.end
    }
    // An error that was cut.
    guard received[start...].first == UInt8(ascii: "E") else {
      return network.violate("\(name): the client got a part of what its database did not send")
    }
  }

  private func judgeGrant(_ name: String) {
    guard let grant = book.grants[name] else { return }
    if grant.starts != 1 { network.violate("\(name): \(grant.starts) starts were told") }
    let expected = grant.failure == nil ? 1 : 0
    if grant.starts == 1, grant.ends != expected {
      network.violate("\(name): \(grant.ends) ends were told, with \(grant.failure?.message ?? "no failure")")
    }
  }
}
