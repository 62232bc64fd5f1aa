import Glibc
import Reactor
import TestSupport

/// Hosts' sockets and the way between them, in virtual time; every choice is drawn from the seed.
///
/// What TCP does is played as far as its users see it: an ordered stream in each direction with a bounded buffer, end of
/// stream, resets, time-outs of tuned sockets. Loss is a delay, as it is for who uses TCP.
///
/// Invariant behind `@unchecked Sendable`: a simulation runs on one thread from its beginning to its end.
package final class SimulatedNetwork: @unchecked Sendable {
  /// Virtual monotonic milliseconds.
  package internal(set) var now: UInt64 = 5_000_000
  package var random: SeededGenerator
  package let trace: Trace
  package let temper: Temper
  package var counts = FaultCounts()
  /// What went against the contract or against an invariant.
  package private(set) var violations: [String] = []
  /// Whether somebody else moves the clock; else `poll` does.
  package var isDriven = false
  /// What connections to a port are for.
  package var kinds: [UInt16: Link.Kind] = [:]
  /// The machine of clients and databases, whose own kernel gives all it is asked for.
  package var flawlessHost = -1
  /// Called for each connection as it is dialled.
  package var onDial: ((Link) -> Void)?

  private var sockets: [SimulatedSocket] = []
  private var listeners: [UInt16: [SimulatedSocket]] = [:]
  private var linkCount = 0

  /// Far beyond any descriptor of this process, so that a call that misses the simulation hits nothing.
  static let firstDescriptor: Int32 = 1 << 30
  /// Milliseconds after which a tuned socket gives up a peer that is silent: see `Sockets.tuneForSession`.
  static let timeout: UInt64 = 60_000
  /// And one that is not, with unacknowledged bytes: tcp_retries2 of tcp(7).
  static let longTimeout: UInt64 = 924_000

  package init(seed: UInt64, temper: Temper = .calm) {
    random = SeededGenerator(seed: seed &+ 1)
    for _ in 0..<4 { _ = random.next() }
    self.temper = temper
    trace = Trace()
  }

  deinit {
    // A link holds its ends, and each end its link.
    for socket in sockets { socket.link = nil }
  }

  package func violate(_ what: String) {
    if violations.count < 20 { violations.append(what) }
  }

  /// Whether something of that chance in a thousand happens now.
  package func happens(_ perMille: Int) -> Bool { perMille > 0 && Int.random(in: 0..<1000, using: &random) < perMille }

  // MARK: Sockets

  /// Sockets of a host that are not closed.
  package func openSockets(of host: Int) -> Int { sockets.count { $0.host == host && $0.state != .closed } }

  func socket(_ descriptor: Int32) -> SimulatedSocket? {
    let index = Int(descriptor) - Int(Self.firstDescriptor)
    return sockets.indices.contains(index) ? sockets[index] : nil
  }

  func makeSocket(host: Int) -> SimulatedSocket {
    let socket = SimulatedSocket(Self.firstDescriptor + Int32(sockets.count), host: host)
    sockets.append(socket)
    return socket
  }

  func listen(_ port: UInt16, host: Int) -> SimulatedSocket {
    let socket = makeSocket(host: host)
    socket.state = .listening
    socket.port = port
    listeners[port, default: []].append(socket)
    return socket
  }

  /// Two connected sockets.
  package func pair(hosts: (Int, Int)) -> (Int32, Int32) {
    let (a, b) = (makeSocket(host: hosts.0), makeSocket(host: hosts.1))
    join(a, b, kind: .other)
    a.state = .open
    return (a.descriptor, b.descriptor)
  }

  private func join(_ a: SimulatedSocket, _ b: SimulatedSocket, kind: Link.Kind) {
    let link = Link(kind: kind, number: linkCount)
    linkCount += 1
    (a.link, b.link) = (link, link)
    (a.direction, b.direction) = (0, 1)
    link.ends = [a, b]
    b.state = .open
  }

  func connect(_ socket: SimulatedSocket, to port: UInt16) {
    socket.state = .connecting
    socket.port = port
    socket.connectDue = now + UInt64.random(in: 0...temper.latency, using: &random)
    let open = (listeners[port] ?? []).filter { $0.state == .listening }
    if open.isEmpty || failsDial(socket, temper.dialRefused) {
      if !open.isEmpty { counts.add(.dialRefused) }
      socket.connectError = ECONNREFUSED
    } else if failsDial(socket, temper.dialUnanswered) {
      counts.add(.dialUnanswered)
      // tcp_syn_retries of tcp(7).
      socket.connectDue = now + 127_000
      socket.connectError = ETIMEDOUT
    } else {
      let listener = open[Int.random(in: 0..<open.count, using: &random)]
      let accepted = makeSocket(host: listener.host)
      accepted.port = port
      // The port that clients know is the one that agents dig their tunnels to.
      let kind = kinds[port] ?? .other
      join(socket, accepted, kind: kind == .client && socket.host != flawlessHost ? .tunnel : kind)
      listener.backlog.append((accepted, now + UInt64.random(in: 0...temper.latency, using: &random)))
      if let link = socket.link { onDial?(link) }
    }
    trace.note("dial", now, Int(socket.descriptor), Int(port), Int(socket.connectError))
  }

  private func failsDial(_ socket: SimulatedSocket, _ perMille: Int) -> Bool {
    socket.host != flawlessHost && happens(perMille)
  }

  // MARK: Streams

  /// Bytes that a send from `socket` may take now.
  func space(_ socket: SimulatedSocket) -> Int {
    guard let peer = socket.peer else { return 0 }
    return max(0, temper.window - peer.unread - socket.unacknowledged)
  }

  func transmit(_ bytes: UnsafeRawBufferPointer, from socket: SimulatedSocket) {
    guard let link = socket.link, let peer = socket.peer else { return }
    let direction = socket.direction
    var part = bytes
    var struck: Fault?
    if let cut = link.cut, cut.direction == direction, link.carried[direction] + bytes.count > cut.offset {
      part = UnsafeRawBufferPointer(rebasing: bytes[..<max(0, cut.offset - link.carried[direction])])
      struck = cut.fault
    }
    link.carried[direction] += part.count
    if link.isBlackHole {
      socket.unacknowledged += part.count
      if socket.unacknowledged == part.count, !socket.isTuned {
        deliver(.init(bytes: [], arrival: now + Self.longTimeout, end: .error(ETIMEDOUT)), to: socket)
      }
    } else if link.isSevered || peer.state == .closed {
      reset(socket, after: travel(link, direction, 0))
    } else if !part.isEmpty {
      var copy = Array(part)
      if link.corrupts[direction] {
        link.corrupts[direction] = false
        copy[0] ^= 0x10
      }
      deliver(.init(bytes: copy, arrival: travel(link, direction, part.count), end: nil), to: peer)
    }
    if let struck {
      link.cut = nil
      strike(link, struck)
    }
  }

  private func travel(_ link: Link, _ direction: Int, _ count: Int) -> UInt64 {
    var arrival = max(now, link.lastArrival[direction]) + link.delay
    if temper.latency > 0 { arrival += UInt64.random(in: 0...temper.latency, using: &random) / 2 }
    if link.delay > 0 { arrival = max(link.lastArrival[direction], min(arrival, now + link.delay + temper.latency)) }
    if link.bytesPerSecond > 0 { arrival += UInt64(count * 1000 / link.bytesPerSecond) }
    if link.lossPerMille > 0 {
      // A packet that is lost is sent again after the retransmission time-out, which doubles.
      for _ in 0..<max(1, count / 1448) {
        var timeout: UInt64 = 200
        while happens(link.lossPerMille), timeout < 10_000 {
          counts.add(.loss)
          arrival += timeout
          timeout *= 2
        }
      }
    }
    link.lastArrival[direction] = arrival
    return arrival
  }

  private func deliver(_ segment: SimulatedSocket.Segment, to socket: SimulatedSocket) {
    socket.unread += segment.bytes.count
    socket.inbox.append(segment)
  }

  /// The stream from `socket` ends.
  func end(_ socket: SimulatedSocket) {
    guard !socket.isWriteClosed, let link = socket.link, let peer = socket.peer else { return }
    socket.isWriteClosed = true
    guard !link.isBlackHole, !link.isSevered, peer.state != .closed else { return }
    deliver(.init(bytes: [], arrival: travel(link, socket.direction, 0), end: .stream), to: peer)
  }

  private func reset(_ socket: SimulatedSocket, after time: UInt64) {
    guard !socket.isReset, socket.state != .closed else { return }
    socket.isReset = true
    deliver(.init(bytes: [], arrival: time, end: .error(ECONNRESET)), to: socket)
  }

  /// What close(2) does: a reset if something was left unread, else the end of the stream.
  func close(_ socket: SimulatedSocket) {
    guard socket.state != .closed else { return violate("socket \(socket.descriptor) was closed twice") }
    let wasListening = socket.state == .listening
    let hadUnread = socket.first.map { $0.arrival <= now && !$0.bytes.isEmpty } ?? false
    if let peer = socket.peer, let link = socket.link, socket.state == .open, !socket.isReset {
      if hadUnread, !link.isBlackHole, !link.isSevered {
        reset(peer, after: travel(link, socket.direction, 0))
      } else {
        end(socket)
      }
    }
    socket.state = .closed
    socket.inbox = []
    socket.head = 0
    socket.unread = 0
    if wasListening {
      for entry in socket.backlog {
        if let link = entry.socket.link, let peer = entry.socket.peer {
          reset(peer, after: travel(link, 1, 0))
        }
        entry.socket.state = .closed
      }
      socket.backlog = []
    }
  }

  // MARK: Faults on the way

  /// Does `fault` to a connection, now.
  package func strike(_ link: Link, _ fault: Fault) {
    counts.add(fault)
    trace.note("strike", now, link.number, Int(fault.hashIndex))
    switch fault {
    case .reset:
      for end in link.ends where end.state != .closed {
        dropInFlight(end, all: happens(500))
        // An earlier reset that was still under way is dropped with the rest.
        end.isReset = false
        reset(end, after: now)
      }
      link.isSevered = true
    case .end:
      for end in link.ends { self.end(end) }
      link.isSevered = true
    case .blackHole:
      link.isBlackHole = true
      for end in link.ends where end.state != .closed {
        dropInFlight(end, all: false)
        guard end.isTuned else { continue }
        deliver(.init(bytes: [], arrival: now + Self.timeout, end: .error(ETIMEDOUT)), to: end)
      }
    case .corruption: link.corrupts = [true, true]
    case .latency: link.delay = 200
    case .loss: link.lossPerMille = 10
    case .slowLink: link.bytesPerSecond = 1000
    default: break
    }
  }

  private func dropInFlight(_ socket: SimulatedSocket, all: Bool) {
    let limit = all ? 0 : now
    var kept: [SimulatedSocket.Segment] = []
    for segment in socket.inbox[socket.head...] where segment.arrival <= limit { kept.append(segment) }
    socket.inbox = kept
    socket.head = 0
    socket.unread = kept.reduce(0) { $0 + $1.bytes.count - $1.start }
  }
}

extension Fault {
  fileprivate var hashIndex: Int { Self.allCases.firstIndex(of: self) ?? -1 }
}

// MARK: Time

extension SimulatedNetwork {
  /// Time passes.
  package func advance(to time: UInt64) { now = max(now, time) }

  /// Time passes all at once, as when the machine slept.
  package func jump(_ milliseconds: UInt64) {
    now += milliseconds
    trace.note("jump", now, Int(milliseconds))
  }
}
