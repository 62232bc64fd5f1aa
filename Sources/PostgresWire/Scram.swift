import Crypto
import CryptoExtras
import Secrets

/// The slow part of SCRAM, PBKDF2 over the password: made on the reactor, run elsewhere.
public struct ScramDerivation: Sendable {
  let password: Secret
  /// Together with the password these determine the keys: a cache may use them.
  public let salt: [UInt8]
  public let iterations: Int

  /// Derives the keys; takes milliseconds.
  ///
  /// - Throws: if the crypto library cannot: no login may go on with keys that anybody could guess.
  public func run() throws(AuthenticationFailure) -> ScramKeys {
    guard password.count > 0, iterations > 0 else {
      throw .refused("SCRAM keys cannot be derived from an empty password or in no rounds", hint: nil)
    }
    let key: SymmetricKey
    do {
      key = try password.withBytes { bytes in
        try KDF.Insecure.PBKDF2.deriveKey(
          from: SASLPrep.prepared(bytes) ?? Array(bytes), salt: salt, using: .sha256, outputByteCount: 32,
          unsafeUncheckedRounds: iterations)
      }
    } catch {
      throw .refused("the SCRAM keys cannot be derived from the password: \(error)", hint: nil)
    }
    func mac(_ label: String) -> [UInt8] { Array(HMAC<SHA256>.authenticationCode(for: Array(label.utf8), using: key)) }
    return ScramKeys(clientKey: Secret(mac("Client Key")), serverKey: Secret(mac("Server Key")))
  }
}

/// ClientKey and ServerKey of RFC 5802 section 3.
public struct ScramKeys: Sendable {
  let clientKey: Secret
  let serverKey: Secret
}

/// One SCRAM-SHA-256 exchange (RFC 5802, RFC 7677).
struct ScramClient {
  private static let maximumNonce = 256
  private static let maximumSalt = 1024
  private static let iterationBounds = 4096...1_000_000

  let mechanism: String
  private let nonce: [UInt8]
  private let header: [UInt8]
  private let binding: [UInt8]
  private var serverFirstMessage: [UInt8] = []
  private var combinedNonce: [UInt8] = []
  private var serverKey: Secret?
  private var authMessage: [UInt8] = []

  /// - Parameter endPoint: binding data, if the connection has TLS.
  init(nonce: [UInt8], endPoint: [UInt8]?, serverOffersBinding: Bool) {
    self.nonce = nonce
    if serverOffersBinding, let endPoint {
      mechanism = "SCRAM-SHA-256-PLUS"
      header = Array("p=tls-server-end-point,,".utf8)
      binding = endPoint
    } else {
      mechanism = "SCRAM-SHA-256"
      // 'y': we could have bound; a server that offered it and sees this knows that someone took its offer away.
      header = Array((endPoint == nil ? "n,," : "y,,").utf8)
      binding = []
    }
  }

  private var firstBare: [UInt8] { Array("n=,r=".utf8) + nonce }

  /// client-first-message; the user name is empty since PostgreSQL takes it from the startup packet.
  var first: [UInt8] { header + firstBare }

  /// Reads server-first-message and says what is to be derived.
  mutating func serverFirst(_ message: [UInt8], password: Secret) throws(AuthenticationFailure) -> ScramDerivation {
    guard serverFirstMessage.isEmpty, message.count <= 4096 else { throw .untrusted("SCRAM challenge out of order") }
    let fields = message.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
    guard fields.count >= 3, let nonce = Self.value(fields[0], "r"), let salt = Self.value(fields[1], "s"),
      let rounds = Self.value(fields[2], "i")
    else { throw .untrusted("malformed SCRAM challenge") }
    guard nonce.count <= Self.maximumNonce, nonce.count > self.nonce.count, nonce.starts(with: self.nonce) else {
      throw .untrusted("its SCRAM nonce does not continue ours")
    }
    guard let saltBytes = Base64.decode(salt), !saltBytes.isEmpty, saltBytes.count <= Self.maximumSalt else {
      throw .untrusted("bad SCRAM salt")
    }
    guard let text = String(validating: rounds, as: UTF8.self), let iterations = Int(text),
      Self.iterationBounds.contains(iterations)
    else { throw .untrusted("SCRAM iteration count outside \(Self.iterationBounds)") }
    serverFirstMessage = message
    combinedNonce = Array(nonce)
    return ScramDerivation(password: password, salt: saltBytes, iterations: iterations)
  }

  /// client-final-message with the proof.
  mutating func final(_ keys: ScramKeys) throws(AuthenticationFailure) -> [UInt8] {
    guard !combinedNonce.isEmpty, serverKey == nil else { throw .untrusted("SCRAM proof out of order") }
    let withoutProof = Array("c=".utf8) + Base64.encode(header + binding) + Array(",r=".utf8) + combinedNonce
    let comma = [UInt8(ascii: ",")]
    authMessage = firstBare + comma + serverFirstMessage + comma + withoutProof
    serverKey = keys.serverKey
    let proof = keys.clientKey.withBytes { clientKey in
      let storedKey = SymmetricKey(data: Array(SHA256.hash(data: Array(clientKey))))
      let signature = HMAC<SHA256>.authenticationCode(for: authMessage, using: storedKey)
      return zip(clientKey, signature).map { $0 ^ $1 }
    }
    return withoutProof + Array(",p=".utf8) + Base64.encode(proof)
  }

  /// Checks the server's signature: it knows the password as well, or at least what is derived from it.
  func verify(serverFinal message: [UInt8]) throws(AuthenticationFailure) {
    guard let serverKey, let field = message.split(separator: UInt8(ascii: ",")).first,
      let value = Self.value(field, "v"), let signature = Base64.decode(value)
    else { throw .untrusted("malformed SCRAM signature") }
    let isValid = serverKey.withBytes { key in
      HMAC<SHA256>.isValidAuthenticationCode(
        signature, authenticating: authMessage, using: SymmetricKey(data: Array(key)))
    }
    guard isValid else { throw .untrusted("wrong SCRAM signature") }
  }

  private static func value(_ field: ArraySlice<UInt8>, _ name: Character) -> ArraySlice<UInt8>? {
    guard field.count >= 2, field.first == name.asciiValue, field.dropFirst().first == UInt8(ascii: "=") else {
      return nil
    }
    return field.dropFirst(2)
  }
}
