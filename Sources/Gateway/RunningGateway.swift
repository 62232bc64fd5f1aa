import Reactor

/// A gateway that serves; letting go of it does not stop it.
public struct RunningGateway: Sendable {
  /// The ways in to its reactors, by their index.
  let mailboxes: [Mailbox]
  let threads: [ReactorThread]

  init(threads: [ReactorThread]) {
    self.threads = threads
    mailboxes = threads.map(\.mailbox)
  }

  /// A gateway whose reactors are run, and stopped, by the caller.
  init(mailboxes: [Mailbox]) {
    threads = []
    self.mailboxes = mailboxes
  }

  /// Ends all sessions with FATAL 57P01, closes the listeners and waits for the reactors.
  public func stop() { for thread in threads { thread.stop() } }

  /// Uses `settings` for connections that are accepted from now on; running sessions keep theirs.
  public func use(_ settings: GatewaySettings) {
    for mailbox in mailboxes { mailbox.post { Worker.of($0)?.settings = settings } }
  }

  /// Counters and sizes of every reactor; `nil` for one that did not answer within `limit`: it hangs or is overloaded.
  public func samples(within limit: Duration = .seconds(1)) async -> [ReactorSample?] {
    await ask(within: limit) { ReactorSample($0) }
  }

  /// Runs `question` on the thread of every reactor.
  func ask<Answer: Sendable>(
    within limit: Duration, _ question: @escaping @Sendable (Worker) -> Answer
  ) async -> [Answer?] {
    let (stream, answers) = AsyncStream<(index: Int, answer: Answer)>.makeStream()
    for (index, mailbox) in mailboxes.enumerated() {
      mailbox.post { reactor in
        if let worker = Worker.of(reactor) { answers.yield((index, question(worker))) }
      }
    }
    let alarm = Task {
      // Cancelled or slept out, the wait is over.
      try? await Task.sleep(for: limit)
      answers.finish()
    }
    defer { alarm.cancel() }
    var result = [Answer?](repeating: nil, count: mailboxes.count)
    var missing = mailboxes.count
    for await (index, answer) in stream {
      result[index] = answer
      missing -= 1
      if missing == 0 { break }
    }
    return result
  }
}
