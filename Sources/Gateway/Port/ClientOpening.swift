import PostgresWire

/// What a client's bytes lead to before anybody knows who it is: the first tells TLS from Postgres, then come packets
/// without a type. Without I/O; bounded by `StartupPacket.maximumLength`.
struct ClientOpening {
  enum Step {
    /// More bytes are needed.
    case wait
    /// The bytes at hand begin a TLS handshake that nobody asked for.
    case directTLS
    /// The client asks for TLS and waits for the answer.
    case acceptTLS
    /// It asks for GSS encryption, which is not offered, and may go on.
    case declineGSS
    case cancel(processID: UInt32, secret: [UInt8])
    case login(StartupParameters)
    /// The connection ends with an error that the client can read.
    case refuse(WireError)
    /// It ends without a word.
    case reject
  }

  /// TLS is on: what is wrong from here on is told.
  var isSecured = false
  /// Bytes of an incomplete packet.
  private var pending: [UInt8] = []
  private var hasAskedForGSS = false
  private var hasAskedForTLS = false

  /// First byte of a TLS record that holds a ClientHello (RFC 8446 section 5.1).
  private static let tlsHandshakeRecord: UInt8 = 0x16

  mutating func take(_ bytes: UnsafeRawBufferPointer) -> Step {
    if !isSecured, pending.isEmpty, bytes.first == Self.tlsHandshakeRecord, !hasAskedForTLS { return .directTLS }
    guard pending.count + bytes.count <= StartupPacket.maximumLength else {
      let error = WireError(
        .protocolViolation, "the startup packet is longer than \(StartupPacket.maximumLength) bytes")
      return isSecured ? .refuse(error) : .reject
    }
    pending.append(contentsOf: bytes)
    do throws(WireError) {
      guard let (request, consumed) = try StartupPacket.parse(pending) else { return .wait }
      // Nothing may stand behind a first packet: before TLS it could only be an attacker's, after it a client that
      // does not wait for its answer.
      guard consumed == pending.count else {
        throw WireError(.protocolViolation, "received data after the startup packet")
      }
      pending = []
      return try answer(request)
    } catch {
      return isSecured ? .refuse(error) : .reject
    }
  }

  private mutating func answer(_ request: StartupRequest) throws(WireError) -> Step {
    switch request {
    case .ssl:
      guard !isSecured, !hasAskedForTLS else { throw WireError(.protocolViolation, "TLS was asked for twice") }
      hasAskedForTLS = true
      return .acceptTLS
    case .gssEncryption:
      guard !isSecured, !hasAskedForGSS else {
        throw WireError(.protocolViolation, "GSS encryption is not offered")
      }
      hasAskedForGSS = true
      return .declineGSS
    case .cancel(let processID, let secret): return .cancel(processID: processID, secret: secret)
    case .startup(let parameters):
      guard isSecured else {
        return .refuse(
          WireError(
            .invalidAuthorization, "TLS is required",
            hint: "Connect with sslmode=verify-full and the certificate that 'tsh db login' stored."))
      }
      return .login(parameters)
    }
  }
}
