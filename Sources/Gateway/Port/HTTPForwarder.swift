import PostgresWire
import Reactor
import TLS
import TLSTransport
import TunnelWire

/// How a proxy reaches the Auth Service for the HTTPS connections it takes.
public struct HTTPForwarding: Sendable {
  /// An address of an Auth Service and the name its certificate must carry.
  public struct Target: Sendable {
    public let address: SocketAddress
    public let serverName: String

    public init(address: SocketAddress, serverName: String) {
      self.address = address
      self.serverName = serverName
    }
  }

  /// Where to, in the order to try; resolved elsewhere, since this is asked on a reactor.
  let targets: @Sendable () -> [Target]
  /// Presents the host's certificate and offers `TunnelMessage.callerProtocol`.
  let context: @Sendable () -> ClientTLSContext

  public init(targets: @escaping @Sendable () -> [Target], context: @escaping @Sendable () -> ClientTLSContext) {
    self.targets = targets
    self.context = context
  }
}

/// Carries one HTTPS connection from a proxy to the Auth Service: first who calls, then the HTTP bytes as they are.
final class HTTPForwarder: HTTPLeg {
  private enum Tag: UInt8 { case dial = 1 }
  private static let dialDeadline: UInt64 = 5_000

  private let context: @Sendable () -> ClientTLSContext
  private let caller: HTTPCaller
  private let target: HTTPForwarding.Target
  private let remaining: ArraySlice<HTTPForwarding.Target>
  /// What the client sent before the way was open; one read at most, since the client is paused then.
  private var early: [UInt8]
  private var isOpen = false
  private var isReplaced = false

  static func open(_ forwarding: HTTPForwarding, _ caller: HTTPCaller, client: ClientChannel) -> HTTPLeg? {
    dial(forwarding.targets()[...], forwarding.context, caller, client, early: [])
  }

  private static func dial(
    _ targets: ArraySlice<HTTPForwarding.Target>, _ context: @escaping @Sendable () -> ClientTLSContext,
    _ caller: HTTPCaller, _ client: ClientChannel, early: [UInt8]
  ) -> HTTPForwarder? {
    var targets = targets
    while let target = targets.popFirst() {
      let channel = HTTPForwarder(client, context, caller, target, targets, early)
      guard let descriptor = try? client.reactor.sockets.open(target.address.family),
        (try? client.reactor.add(channel, descriptor: descriptor)) != nil
      else { continue }
      _ = channel.reactor.startTimer(for: channel, tag: Tag.dial.rawValue, after: dialDeadline)
      channel.reactor.connect(channel, to: target.address)
      return channel
    }
    client.worker.gateway.warn("no Auth Service can be reached")
    return nil
  }

  private init(
    _ client: ClientChannel, _ context: @escaping @Sendable () -> ClientTLSContext, _ caller: HTTPCaller,
    _ target: HTTPForwarding.Target, _ remaining: ArraySlice<HTTPForwarding.Target>, _ early: [UInt8]
  ) {
    self.context = context
    self.caller = caller
    self.target = target
    self.remaining = remaining
    self.early = early
    super.init(client: client)
  }

  override func connected(errno: Int32) {
    guard errno == 0 else { return tryNext() }
    resumeReceiving()
    secureAsClient(context(), serverName: target.serverName)
  }

  override func secured() {
    isOpen = true
    write(TunnelMessage.caller(certificate: caller.certificate ?? [], address: caller.address).encoded())
    write(early)
    early = []
    client?.resumeReceiving()
  }

  override func forward(_ bytes: UnsafeRawBufferPointer) {
    guard !isOpen else { return write(bytes) }
    early.append(contentsOf: bytes)
    client?.pauseReceiving()
  }

  override func timerFired(tag: UInt8) {
    if !isOpen { tryNext() }
  }

  override func failed(errno: Int32) { if isOpen { close() } else { tryNext() } }
  override func plaintextEnded() { if isOpen { close() } else { tryNext() } }

  override func tlsFailed(_ failure: TLSFailure) {
    client?.worker.gateway.warn("TLS with the Auth Service at \(target.address) failed: \(failure.message)")
    if isOpen { close() } else { tryNext() }
  }

  private func tryNext() {
    guard !isReplaced, let client else { return close() }
    isReplaced = true
    client.replaceUpstream(Self.dial(remaining, context, caller, client, early: early))
    close()
  }

  override func willClose() {
    if !isReplaced { super.willClose() }
  }
}
