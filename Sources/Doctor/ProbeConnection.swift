import CPlatform
import Glibc
import Reactor
import TLS

/// What went wrong on a connection that is looked at.
enum ProbeFailure: Error {
  /// What was waited for did not come in time.
  case timeout
  /// The other end closed.
  case closed
  case system(String)
  case tls(TLSFailure)
}

/// A connection for one thread that waits: in the clear first, then TLS. Every wait ends at the deadline, which is set anew
/// for each link.
///
/// The doctor looks at one database at a time, so unlike the gateway it may block; the protocol's parts are the same.
final class ProbeConnection {
  private final class Outgoing { var bytes: [UInt8] = [] }

  private let descriptor: Int32
  var deadline: ContinuousClock.Instant
  // `TLSOutput` points at it; the session dies with this object, so it never outlives what it points at.
  private let outgoing = Outgoing()
  private(set) var session: TLSSession?
  /// Ciphertext that came together with the end of the handshake.
  private var early: [UInt8] = []

  /// Connects; the wait for the other end is part of the deadline.
  init(to address: SocketAddress, deadline: ContinuousClock.Instant) throws(ProbeFailure) {
    self.deadline = deadline
    do throws(SystemError) {
      descriptor = try Sockets.open(address.family)
    } catch {
      throw .system(error.description)
    }
    guard address.withSockAddr({ Glibc.connect(descriptor, $0, $1) }) != 0 else { return }
    guard errno == EINPROGRESS else { throw .system(SystemError.text(errno)) }
    try wait(for: POLLOUT)
    var (code, length) = (Int32(0), socklen_t(MemoryLayout<Int32>.size))
    guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0, code == 0 else {
      throw .system(SystemError.text(code))
    }
  }

  deinit { close(descriptor) }

  // MARK: TLS

  /// Turns the connection to TLS towards `serverName`.
  func secure(_ context: ClientTLSContext, serverName: String) throws(ProbeFailure) {
    let output = TLSOutput(context: Unmanaged.passUnretained(outgoing).toOpaque()) { context, bytes, count in
      guard let context else { return }
      let chunk = UnsafeRawBufferPointer(start: bytes, count: count)
      Unmanaged<Outgoing>.fromOpaque(context).takeUnretainedValue().bytes += chunk
    }
    guard let session = TLSSession(client: context, serverName: serverName, output: output) else {
      throw .system("'\(serverName)' cannot be a TLS server name")
    }
    var input: [UInt8] = []
    while true {
      let step = input.withUnsafeBytes { bytes in
        session.setInput(bytes)
        defer { session.clearInput() }
        let step = session.handshake()
        early = Array(bytes.suffix(session.unreadInput))
        return step
      }
      // An alert is worth sending even if the handshake failed, and not worth another error.
      if case .failed(let failure) = step {
        try? flush()
        throw .tls(failure)
      }
      try flush()
      if case .complete = step { break }
      input = try receiveRaw()
    }
    self.session = session
  }

  // MARK: Bytes

  func send(_ bytes: [UInt8]) throws(ProbeFailure) {
    guard let session else { return try sendRaw(bytes) }
    if let failure = bytes.withUnsafeBytes({ session.write($0) }) { throw .tls(failure) }
    try flush()
  }

  /// Some of what comes next, never nothing.
  func receive() throws(ProbeFailure) -> [UInt8] {
    guard let session else { return try receiveRaw() }
    while true {
      let raw = early.isEmpty ? try receiveRaw() : early
      early = []
      let (plain, failure) = Self.decrypt(raw, session)
      if !plain.isEmpty { return plain }
      if let failure { throw failure }
    }
  }

  private static func decrypt(_ raw: [UInt8], _ session: TLSSession) -> (plain: [UInt8], failure: ProbeFailure?) {
    var plain: [UInt8] = []
    var scratch = [UInt8](repeating: 0, count: 16 * 1024)
    let failure = raw.withUnsafeBytes { bytes -> ProbeFailure? in
      session.setInput(bytes)
      defer { session.clearInput() }
      while true {
        switch scratch.withUnsafeMutableBytes({ session.read(into: $0) }) {
        case .bytes(let count): plain += scratch[..<count]
        case .needsInput: return nil
        case .closed: return .closed
        case .failed(let failure): return .tls(failure)
        }
      }
    }
    return (plain, failure)
  }

  private func flush() throws(ProbeFailure) {
    let bytes = outgoing.bytes
    outgoing.bytes = []
    try sendRaw(bytes)
  }

  private func sendRaw(_ bytes: [UInt8]) throws(ProbeFailure) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if errno == EAGAIN {
        try wait(for: POLLOUT)
      } else if errno != EINTR {
        throw .system(SystemError.text(errno))
      }
    }
  }

  private func receiveRaw() throws(ProbeFailure) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 16 * 1024)
    while true {
      let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
      if count > 0 { return Array(buffer[..<count]) }
      if count == 0 { throw .closed }
      if errno == EAGAIN {
        try wait(for: POLLIN)
      } else if errno != EINTR {
        throw .system(SystemError.text(errno))
      }
    }
  }

  /// Waits until the socket is ready for `event`, fails or the deadline is there.
  private func wait(for event: Int32) throws(ProbeFailure) {
    var entry = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: event), revents: 0)
    while true {
      let left = (deadline - .now) / .milliseconds(1)
      guard left > 0 else { throw .timeout }
      let count = poll(&entry, 1, Int32(min(left.rounded(.up), 60_000)))
      if count > 0 { return }
      if count < 0, errno != EINTR { throw .system(SystemError.text(errno)) }
    }
  }
}
