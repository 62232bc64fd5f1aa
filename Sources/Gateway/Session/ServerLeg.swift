import PostgresWire
import Reactor
import TLSTransport

/// The other half of a session, as its client's half sees it: a database (`ServerChannel`), or an agent that reaches
/// one (`TunnelChannel`). A class rather than a protocol: the relay calls it for every message.
class ServerLeg: TLSChannel {
  let worker: Worker

  init(worker: Worker) {
    self.worker = worker
    super.init(reactor: worker.reactor, records: worker.records)
  }

  /// Whether the bytes relayed so far end with a complete message.
  var isAtMessageBoundary: Bool { true }
  /// Where the database stands, as far as its bytes have been relayed.
  var backendState: MessageScanner.BackendState { .readyForQuery }
  /// Whether the session is outside a transaction and the database has answered `requests` query cycles, all that the
  /// client has begun; `false` where that is not known.
  func isIdle(afterRequests requests: UInt64) -> Bool { false }
  /// Asks the database to give up the running query.
  func cancelQuery() {}
  /// The client leaves a connection that is at rest, its last word not passed on. Returns whether the connection lives on
  /// without it, and is the client's no more.
  func release() -> Bool { false }
  /// The client's side is over: what it sent last (a Terminate) still goes out.
  func clientEnded() {}
}
