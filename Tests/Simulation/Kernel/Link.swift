/// One TCP connection between two simulated sockets, and what is wrong with it.
package final class Link {
  /// What a connection is for, by the port it was dialled to.
  package enum Kind: Int, Sendable, CaseIterable { case other, client, tunnel, database }

  /// Breaks the connection at a byte of one direction: all bytes before it arrive.
  package struct Cut: Sendable {
    package let direction: Int
    package let offset: Int
    package let fault: Fault

    package init(direction: Int, offset: Int, fault: Fault) {
      (self.direction, self.offset, self.fault) = (direction, offset, fault)
    }
  }

  package let kind: Kind
  /// Counts the connections of a run.
  package let number: Int
  /// The dialling socket, then the accepted one.
  var ends: [SimulatedSocket] = []
  /// Bytes that were sent in each direction; 0 is the dialler's.
  package internal(set) var carried = [0, 0]
  package var cut: Cut?
  /// A direction and an offset before which a receive stops, whatever else has arrived.
  package var split: (direction: Int, offset: Int)?
  package var delay: UInt64 = 0
  package var lossPerMille = 0
  package var bytesPerSecond = 0
  /// Flips a bit of the next byte of each direction.
  var corrupts = [false, false]
  var isBlackHole = false
  /// Somebody between both has ended it: what is sent is answered by a reset.
  var isSevered = false
  var lastArrival: [UInt64] = [0, 0]

  /// Whether neither end has closed it.
  package var isOpen: Bool { ends.allSatisfy { $0.state != .closed } }
  /// Whether the end that dialled has not closed it.
  package var isDialled: Bool { ends.first.map { $0.state != .closed } ?? false }

  init(kind: Kind, number: Int) {
    self.kind = kind
    self.number = number
  }
}

/// One end of a connection, a listener, or a socket that has yet to become either.
final class SimulatedSocket {
  enum State { case fresh, listening, connecting, open, closed }
  enum End {
    case stream
    case error(Int32)
  }

  struct Segment {
    var bytes: [UInt8]
    var start = 0
    let arrival: UInt64
    let end: End?
  }

  let descriptor: Int32
  /// Which host's it is.
  let host: Int
  var state = State.fresh
  var isTuned = false
  var port: UInt16 = 0
  var link: Link?
  var direction = 0
  /// What is on its way here or waits to be read.
  var inbox: [Segment] = []
  var head = 0
  /// Bytes of `inbox`.
  var unread = 0
  /// Bytes sent from here that nobody will acknowledge.
  var unacknowledged = 0
  /// Bytes the receiver here had read from the stream.
  var read = 0
  var isWriteClosed = false
  var isReset = false
  var connectDue: UInt64?
  var connectError: Int32 = 0
  var backlog: [(socket: SimulatedSocket, arrival: UInt64)] = []

  init(_ descriptor: Int32, host: Int) {
    self.descriptor = descriptor
    self.host = host
  }

  var peer: SimulatedSocket? { link.flatMap { $0.ends.count == 2 ? $0.ends[1 - direction] : nil } }

  var first: Segment? { head < inbox.count ? inbox[head] : nil }

  func dropFirst() {
    head += 1
    if head == inbox.count {
      inbox.removeAll(keepingCapacity: true)
      head = 0
    } else if head > 64 {
      inbox.removeFirst(head)
      head = 0
    }
  }
}
