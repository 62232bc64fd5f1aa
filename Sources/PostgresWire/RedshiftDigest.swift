import Crypto
import Secrets

/// Redshift's own password digest: authentication request 13, answered by a message of type `d`.
enum RedshiftDigest {
  private static let sha256: UInt32 = 0
  private static let maximumField = 1024

  /// Reads salt and server nonce and makes the answer.
  ///
  /// - Parameter clientNonce: any bytes; the server takes them as they are.
  static func answer(
    _ reader: inout ByteReader, password: Secret, clientNonce: [UInt8] = ServerAuthentication.makeNonce()
  ) throws(AuthenticationFailure) -> [UInt8] {
    guard let algorithm = reader.uint32(), let salt = reader.sized(limit: maximumField),
      let serverNonce = reader.sized(limit: maximumField)
    else { throw .untrusted("malformed digest request") }
    guard algorithm == sha256 else {
      throw .refused("the database asks for password digest algorithm \(algorithm); only SHA-256 is known", hint: nil)
    }
    let digest = digest(password: password, salt: salt, serverNonce: serverNonce, clientNonce: clientNonce)
    var body: [UInt8] = []
    body.append(uint32: UInt32(digest.count))
    body += digest
    body.append(uint32: UInt32(clientNonce.count))
    return Encode.message("d", body + clientNonce)
  }

  /// SHA256(SHA256(password ‖ salt) ‖ server nonce ‖ client nonce).
  static func digest(password: Secret, salt: [UInt8], serverNonce: [UInt8], clientNonce: [UInt8]) -> [UInt8] {
    var inner = SHA256()
    password.withBytes { inner.update(bufferPointer: $0) }
    inner.update(data: salt)
    var outer = SHA256()
    outer.update(data: Array(inner.finalize()))
    outer.update(data: serverNonce)
    outer.update(data: clientNonce)
    return Array(outer.finalize())
  }
}
