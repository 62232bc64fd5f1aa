import PostgresWire

/// What the ends of a tunnel say to each other: a proxy that clients reach, and an agent that reaches databases.
///
/// Two kinds of TLS connections, both dialled by the agent and told apart by ALPN. On a *control* connection both ends
/// speak in messages for as long as it lives. A *session* connection waits at the proxy until a client needs it; then
/// `open`, `ready` (or `refused`), and from there on the plain Postgres stream of that one session.
/// A message is a big-endian length of what follows, a type byte and its fields; docs/decisions/006-tunnel.md.
public enum TunnelMessage: Sendable, Equatable {
  /// Proxy, first thing on either connection: which of its reactors took the connection.
  case welcome(reactor: UInt32, reactorCount: UInt32)
  /// Agent, on control: the databases it serves. Sent again when they change.
  case serves(databases: [String])
  /// Agent, on control, every few seconds: how busy it is, and whether it takes new sessions.
  case heartbeat(sessions: UInt32, isDraining: Bool)
  /// Proxy, on control, in answer to a heartbeat.
  case alive
  /// Proxy, on control: that many clients of one of its reactors wait for a session connection.
  case want(reactor: UInt32, count: UInt32)
  /// Proxy, on control: the client of that session asks to cancel its query.
  case cancel(session: SessionToken)
  /// Proxy, on a session connection: a client's login.
  case open(OpenRequest)
  /// Agent, at once: the login has come. One that does not was sent into a connection that is dead.
  case taken
  /// Agent: the database let the session in. The Postgres stream follows.
  case ready(parameterStatus: [UInt8], transactionStatus: UInt8)
  /// Agent: it did not; the connection ends.
  case refused(WireError)

  /// Proxy to Auth Service, first thing on a connection that carries a caller's HTTP: who calls. The certificate is
  /// empty for a caller without one.
  case caller(certificate: [UInt8], address: String)

  /// ALPN of the two kinds of connection, and of a proxy's to the Auth Service.
  public static let controlProtocol = "teleport-reversetunnel"
  public static let sessionProtocol = "sallyport-session"
  public static let callerProtocol = "sallyport-caller"
}

/// Names a session on its way through a tunnel; 128 random bits, drawn by the proxy.
public struct SessionToken: Sendable, Hashable {
  let high: UInt64
  let low: UInt64

  /// A fresh one.
  public static func random() -> SessionToken {
    var generator = SystemRandomNumberGenerator()
    return SessionToken(high: generator.next(), low: generator.next())
  }
}

/// A client's login as the proxy hands it on. The agent trusts nothing in it but what the certificate proves.
public struct OpenRequest: Sendable, Equatable {
  public let session: SessionToken
  /// DER of the client's certificate; the agent verifies it itself.
  public let certificate: [UInt8]
  /// Numeric address of the client, for audit records.
  public let clientAddress: String
  /// The client's startup packet, without protocol options.
  public let startup: [UInt8]

  public init(session: SessionToken, certificate: [UInt8], clientAddress: String, startup: [UInt8]) {
    self.session = session
    self.certificate = certificate
    self.clientAddress = clientAddress
    self.startup = startup
  }
}

extension TunnelMessage {
  private enum Kind: UInt8 {
    case welcome = 1
    case serves, heartbeat, alive, want, cancel, open, ready, refused, caller, taken
  }

  /// The longest message, in bytes behind its length: `serves` with as many names as a host may report.
  static let maximumLength = 1 << 20
  static let maximumDatabases = 10_000
  private static let maximumText = 4096
  private static let maximumCertificate = 64 * 1024
  /// All parameters that a server reports before the first query.
  private static let maximumParameters = 256 * 1024

  /// The message on the wire. Fields are bounded by those who make them; clamping keeps a mistake from wrapping.
  public func encoded() -> [UInt8] {
    var body: [UInt8] = []
    func text(_ value: String) {
      let utf8 = value.utf8
      var end = utf8.index(utf8.startIndex, offsetBy: Self.maximumText, limitedBy: utf8.endIndex) ?? utf8.endIndex
      // Half a character would not be text to the reader.
      while end.samePosition(in: value.unicodeScalars) == nil { end = utf8.index(before: end) }
      sized(Array(utf8[..<end]))
    }
    func sized(_ bytes: [UInt8]) {
      body.append(uint32: UInt32(clamping: bytes.count))
      body += bytes
    }
    func token(_ token: SessionToken) {
      for half in [token.high, token.low] {
        body.append(uint32: UInt32(truncatingIfNeeded: half >> 32))
        body.append(uint32: UInt32(truncatingIfNeeded: half))
      }
    }
    let kind: Kind
    switch self {
    case .welcome(let reactor, let count):
      kind = .welcome
      body.append(uint32: reactor)
      body.append(uint32: count)
    case .serves(let databases):
      kind = .serves
      body.append(uint32: UInt32(clamping: databases.count))
      databases.forEach(text)
    case .heartbeat(let sessions, let isDraining):
      kind = .heartbeat
      body.append(uint32: sessions)
      body.append(isDraining ? 1 : 0)
    case .alive: kind = .alive
    case .taken: kind = .taken
    case .want(let reactor, let count):
      kind = .want
      body.append(uint32: reactor)
      body.append(uint32: count)
    case .cancel(let session):
      kind = .cancel
      token(session)
    case .open(let request):
      kind = .open
      token(request.session)
      sized(request.certificate)
      text(request.clientAddress)
      sized(request.startup)
    case .ready(let parameterStatus, let transactionStatus):
      kind = .ready
      sized(parameterStatus)
      body.append(transactionStatus)
    case .refused(let error):
      kind = .refused
      text(error.state.rawValue)
      text(error.message)
      text(error.detail ?? "")
      text(error.hint ?? "")
    case .caller(let certificate, let address):
      kind = .caller
      sized(certificate)
      text(address)
    }
    var message: [UInt8] = []
    message.append(uint32: UInt32(clamping: body.count + 1))
    message.append(kind.rawValue)
    return message + body
  }

  /// Reads what follows the length; `nil` for anything that is not exactly one known message.
  init?(_ bytes: UnsafeRawBufferPointer) {
    var reader = ByteReader(bytes)
    guard let kind = reader.byte().flatMap(Kind.init(rawValue:)) else { return nil }
    guard let message = Self.decode(kind, &reader), reader.remaining == 0 else { return nil }
    self = message
  }

  private static func decode(_ kind: Kind, _ reader: inout ByteReader) -> TunnelMessage? {
    switch kind {
    case .welcome:
      guard let reactor = reader.uint32(), let count = reader.uint32(), reactor < count, count <= 4096 else {
        return nil
      }
      return .welcome(reactor: reactor, reactorCount: count)
    case .serves:
      guard let count = reader.uint32(), count <= UInt32(maximumDatabases) else { return nil }
      var databases: [String] = []
      for _ in 0..<count {
        guard let name = text(&reader) else { return nil }
        databases.append(name)
      }
      return .serves(databases: databases)
    case .heartbeat:
      guard let sessions = reader.uint32(), let draining = reader.byte(), draining <= 1 else { return nil }
      return .heartbeat(sessions: sessions, isDraining: draining == 1)
    case .alive: return .alive
    case .taken: return .taken
    case .want:
      guard let reactor = reader.uint32(), let count = reader.uint32() else { return nil }
      return .want(reactor: reactor, count: count)
    case .cancel: return token(&reader).map { .cancel(session: $0) }
    case .open:
      guard let session = token(&reader), let certificate = reader.sized(limit: maximumCertificate),
        let address = text(&reader), let startup = reader.sized(limit: StartupPacket.maximumLength)
      else { return nil }
      return .open(
        OpenRequest(session: session, certificate: certificate, clientAddress: address, startup: startup))
    case .ready:
      guard let parameters = reader.sized(limit: maximumParameters), let status = reader.byte() else { return nil }
      return .ready(parameterStatus: parameters, transactionStatus: status)
    case .caller:
      guard let certificate = reader.sized(limit: maximumCertificate), let address = text(&reader) else { return nil }
      return .caller(certificate: certificate, address: address)
    case .refused:
      guard let code = text(&reader), let state = SQLState(rawValue: code), let message = text(&reader),
        let detail = text(&reader), let hint = text(&reader)
      else { return nil }
      return .refused(
        WireError(state, message, detail: detail.isEmpty ? nil : detail, hint: hint.isEmpty ? nil : hint))
    }
  }

  private static func text(_ reader: inout ByteReader) -> String? {
    reader.sized(limit: maximumText).flatMap { String(validating: $0, as: UTF8.self) }
  }

  private static func token(_ reader: inout ByteReader) -> SessionToken? {
    guard let a = reader.uint32(), let b = reader.uint32(), let c = reader.uint32(), let d = reader.uint32() else {
      return nil
    }
    return SessionToken(high: UInt64(a) << 32 | UInt64(b), low: UInt64(c) << 32 | UInt64(d))
  }
}
