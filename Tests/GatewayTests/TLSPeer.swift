import Glibc
import PKI
import Reactor
import Secrets
import TLS
import Testing

/// A blocking connection of a test: in the clear first, then TLS. For one thread.
final class TLSPeer {
  private final class Outgoing { var bytes: [UInt8] = [] }

  private let descriptor: Int32
  private let outgoing = Outgoing()
  private var session: TLSSession?
  /// TLS records that have brought data.
  private(set) var recordsReceived = 0
  /// What came together with the end of the handshake; `nil` once it has been read.
  private var unread: [UInt8]?

  /// Takes ownership of a connected socket. Waiting for the other end ends after 20 seconds.
  init(descriptor: Int32) {
    self.descriptor = descriptor
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  static func connect(to address: SocketAddress) throws -> TLSPeer {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    try #require(address.withSockAddr { Glibc.connect(descriptor, $0, $1) } == 0)
    return TLSPeer(descriptor: descriptor)
  }

  // MARK: TLS

  func secure(as context: ServerTLSContext) throws {
    try shake(TLSSession(server: context, output: output, requiresALPN: false))
  }

  func secure(as context: ClientTLSContext, name: String) throws {
    try shake(TLSSession(client: context, serverName: name, output: output))
  }

  private var output: TLSOutput {
    TLSOutput(context: Unmanaged.passUnretained(outgoing).toOpaque()) { context, bytes, count in
      guard let context else { return }
      Unmanaged<Outgoing>.fromOpaque(context).takeUnretainedValue().bytes += UnsafeRawBufferPointer(
        start: bytes, count: count)
    }
  }

  private func shake(_ session: TLSSession?) throws {
    let session = try #require(session)
    var input: [UInt8] = []
    while true {
      let step = input.withUnsafeBytes { bytes in
        session.setInput(bytes)
        defer { session.clearInput() }
        let step = session.handshake()
        unread = Array(bytes.suffix(session.unreadInput))
        return step
      }
      flush()
      switch step {
      case .complete:
        self.session = session
        return
      case .failed(let failure): throw failure
      case .needsInput: input = try #require(receiveRaw())
      }
    }
  }

  // MARK: Bytes

  func send(_ bytes: [UInt8]) {
    guard let session else { return sendRaw(bytes) }
    _ = bytes.withUnsafeBytes { session.write($0) }
    flush()
  }

  /// Sends each of `parts` as a TLS record of its own, all in one go.
  func send(records parts: [[UInt8]]) {
    for part in parts { _ = part.withUnsafeBytes { session?.write($0) } }
    flush()
  }

  /// What comes next; `nil` at the end of the stream.
  func receive() -> [UInt8]? {
    guard let session else { return receiveRaw() }
    while let raw = unread ?? receiveRaw() {
      unread = nil
      var plain: [UInt8] = []
      var scratch = [UInt8](repeating: 0, count: 20_000)
      let isOver = raw.withUnsafeBytes { bytes in
        session.setInput(bytes)
        defer { session.clearInput() }
        while true {
          switch scratch.withUnsafeMutableBytes({ session.read(into: $0) }) {
          case .bytes(let count):
            plain += scratch[..<count]
            recordsReceived += 1
          case .needsInput: return false
          case .closed, .failed: return true
          }
        }
      }
      if !plain.isEmpty { return plain }
      if isOver { return nil }
    }
    return nil
  }

  /// Everything up to the end of the stream.
  func receiveAll() -> [UInt8] {
    var all: [UInt8] = []
    while let part = receive() { all += part }
    return all
  }

  private func flush() {
    sendRaw(outgoing.bytes)
    outgoing.bytes = []
  }

  private func sendRaw(_ bytes: [UInt8]) {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      // The gateway hung up: for some tests that is the point.
      guard count > 0 else { return }
      sent += count
    }
  }

  private func receiveRaw() -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: 16_384)
    let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
    return count > 0 ? Array(buffer[..<count]) : nil
  }
}
