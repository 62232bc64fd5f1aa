import Reactor
import Synchronization

/// The mailboxes of all reactors of a gateway, known once the last has started.
final class Peers: Sendable {
  private let mailboxes = Mutex<[Mailbox]>([])

  func set(_ mailboxes: [Mailbox]) { self.mailboxes.withLock { $0 = mailboxes } }

  var all: [Mailbox] { mailboxes.withLock { $0 } }

  /// The reactor that issued `processID`; see `CancelKeys`.
  func owner(ofProcessID processID: UInt32) -> Mailbox? {
    mailboxes.withLock { $0.isEmpty ? nil : $0[Int(processID) % $0.count] }
  }
}
