import Crypto
import Secrets
import TextForms

/// The client's half of authentication towards a database, without I/O: messages in, answers out.
///
/// Speaks trust, cleartext, MD5, SCRAM-SHA-256 with and without channel binding (RFC 5802, 7677, 5929) and Redshift's
/// SHA-256 digest. Bound to one thread.
public struct ServerAuthentication {
  /// What to do next.
  public enum Step: Sendable {
    case send([UInt8])
    /// Run the derivation on another thread and come back with `resume(with:)`.
    case derive(ScramDerivation)
    case wait
    case authenticated
  }

  private enum State {
    case start
    case scram(ScramClient)
    case proven, answered, over
  }

  private let user: String
  private let password: Secret?
  private let tlsServerEndPoint: [UInt8]?
  private let isTLSVerified: Bool
  private let nonce: [UInt8]
  private var state = State.start

  /// - Parameters:
  ///   - tlsServerEndPoint: hash of the database's certificate, for channel binding.
  ///   - isTLSVerified: whether only the database itself can be at the other end. Without it no password is sent in the
  ///     clear or as a digest, which a man in the middle could pass on.
  ///   - nonce: printable and without commas; fresh for each login.
  public init(
    user: String, password: Secret?, tlsServerEndPoint: [UInt8]?, isTLSVerified: Bool,
    nonce: [UInt8] = ServerAuthentication.makeNonce()
  ) {
    self.user = user
    self.password = password
    self.tlsServerEndPoint = tlsServerEndPoint
    self.isTLSVerified = isTLSVerified
    self.nonce = nonce
  }

  /// 24 characters of 144 random bits.
  public static func makeNonce() -> [UInt8] {
    // A draw is a system call, and gives 64 bits.
    var random = SystemRandomNumberGenerator()
    let bits = (0..<3).map { _ in random.next() as UInt64 }
    return bits.withUnsafeBytes { Base64.encode(Array($0.prefix(18))) }
  }

  /// Takes one message of the database.
  public mutating func handle(type: UInt8, body: [UInt8]) throws -> Step {
    switch type {
    case UInt8(ascii: "R"):
      return try body.withUnsafeBytes { bytes in
        var reader = ByteReader(bytes)
        guard let code = reader.uint32() else { throw AuthenticationFailure.untrusted("malformed request") }
        return try request(code, &reader)
      }
    case UInt8(ascii: "E"):
      throw AuthenticationFailure.server(ErrorResponse(body: body))
    case UInt8(ascii: "N"), UInt8(ascii: "v"):
      return .wait
    default:
      throw AuthenticationFailure.untrusted("message of type \(type) before the login was complete")
    }
  }

  /// Goes on after `.derive`.
  public mutating func resume(with keys: ScramKeys) throws(AuthenticationFailure) -> Step {
    guard case .scram(var client) = state else { throw .untrusted("keys without a SCRAM exchange") }
    let final = try client.final(keys)
    state = .scram(client)
    return .send(Encode.message("p", final))
  }

  private mutating func request(_ code: UInt32, _ reader: inout ByteReader) throws(AuthenticationFailure) -> Step {
    switch (code, state) {
    case (0, .start), (0, .proven), (0, .answered):
      state = .over
      return .authenticated
    case (0, _): throw .untrusted("it let us in without proving that it knows the password")
    case (3, .start):
      try requireVerifiedTLS(for: "a cleartext password")
      state = .answered
      return .send(Encode.message("p", try requiredPassword().withBytes { Array($0) } + [0]))
    case (5, .start):
      guard let salt = reader.take(4), reader.remaining == 0 else { throw .untrusted("malformed MD5 request") }
      try requireVerifiedTLS(for: "an MD5 password")
      state = .answered
      return .send(Encode.message("p", md5(try requiredPassword(), salt: salt) + [0]))
    case (10, .start): return try startScram(&reader)
    case (11, .scram(var client)):
      let derivation = try client.serverFirst(reader.rest(), password: try requiredPassword())
      state = .scram(client)
      return .derive(derivation)
    case (12, .scram(let client)):
      try client.verify(serverFinal: reader.rest())
      state = .proven
      return .wait
    case (13, .start):
      try requireVerifiedTLS(for: "a password digest")
      let answer = try RedshiftDigest.answer(&reader, password: try requiredPassword())
      state = .answered
      return .send(answer)
    case (14, .start):
      throw .refused("the database asks for an identity provider's token, which IAM credentials do not have", hint: nil)
    case (2, .start), (7, .start), (8, .start), (9, .start):
      throw .refused(
        "the database asks for Kerberos or GSSAPI authentication, which Sallyport does not do",
        hint: "Use scram-sha-256 for this user in pg_hba.conf.")
    default: throw .untrusted("authentication request \(code) out of order or unknown")
    }
  }

  private func requireVerifiedTLS(for what: String) throws(AuthenticationFailure) {
    guard !isTLSVerified else { return }
    throw .refused(
      "the database asks for \(what), but TLS does not prove that it is this database",
      hint: "Set tls.mode to verify-full, or to verify-ca with tls.ca_cert_file, for this database.")
  }

  private func requiredPassword() throws(AuthenticationFailure) -> Secret {
    guard let password else {
      throw .refused(
        "the database asks for a password, but none can be fetched for it",
        hint: "Only AWS databases hand out temporary passwords; give this database its aws settings.")
    }
    return password
  }

  private mutating func startScram(_ reader: inout ByteReader) throws(AuthenticationFailure) -> Step {
    var mechanisms: [[UInt8]] = []
    while let name = reader.cString(), !name.isEmpty, mechanisms.count < 16 { mechanisms.append(name) }
    let offersBinding = mechanisms.contains(Array("SCRAM-SHA-256-PLUS".utf8))
    let offersPlain = mechanisms.contains(Array("SCRAM-SHA-256".utf8))
    guard offersBinding || offersPlain else {
      throw .refused("the database offers no SASL mechanism but unknown ones", hint: "Use scram-sha-256.")
    }
    guard offersPlain || tlsServerEndPoint != nil else {
      // RFC 5929 section 4.1 leaves the binding undefined for signatures without a hash of their own, such as Ed25519.
      throw .refused(
        "the database insists on channel binding, but its certificate's signature has no hash to bind to",
        hint: "Give the database a certificate that is signed with RSA or ECDSA, or let it offer SCRAM-SHA-256 as well."
      )
    }
    let client = ScramClient(nonce: nonce, endPoint: tlsServerEndPoint, serverOffersBinding: offersBinding)
    state = .scram(client)
    let first = client.first
    var body = Array(client.mechanism.utf8) + [0]
    body.append(uint32: UInt32(clamping: first.count))
    return .send(Encode.message("p", body + first))
  }

  /// `md5` and the hex of MD5(MD5(password ‖ user) ‖ salt) (PostgreSQL documentation, "Start-up").
  private func md5(_ password: Secret, salt: [UInt8]) -> [UInt8] {
    var inner = Insecure.MD5()
    password.withBytes { inner.update(bufferPointer: $0) }
    inner.update(data: Array(user.utf8))
    var outer = Insecure.MD5()
    outer.update(data: Array(Hex.encode(inner.finalize()).utf8))
    outer.update(data: salt)
    return Array("md5".utf8) + Array(Hex.encode(outer.finalize()).utf8)
  }
}
