import Crypto
import Secrets
import X509

/// An ECDSA P-256 key, the one kind Sallyport makes.
public struct KeyPair: Sendable {
  let key: P256.Signing.PrivateKey

  /// A fresh key.
  public static func generate() -> KeyPair { KeyPair(key: P256.Signing.PrivateKey()) }

  init(key: P256.Signing.PrivateKey) { self.key = key }

  /// Reads a PKCS#8 or SEC1 PEM.
  public init(pem: Secret) throws {
    guard let text = pem.revealText() else { throw PKIError("a private key is not PEM") }
    do {
      key = try P256.Signing.PrivateKey(pemRepresentation: text)
    } catch {
      throw PKIError("a private key is not an ECDSA P-256 key in PEM")
    }
  }

  /// PKCS#8 PEM.
  public var pem: Secret { Secret(utf8: key.pemRepresentation) }

  /// A certificate signing request for `commonName`; the issuer decides all fields, this one is a courtesy.
  public func signingRequestPEM(commonName: String) throws -> String {
    let request = try CertificateSigningRequest(
      version: .v1, subject: DistinguishedName { CommonName(commonName) }, privateKey: .init(key),
      attributes: .init(), signatureAlgorithm: .ecdsaWithSHA256)
    return try request.serializeAsPEM().pemString
  }
}

/// A certificate or key that cannot be used.
public struct PKIError: Error, Sendable, CustomStringConvertible {
  /// What is wrong and the mend, in one line.
  public let description: String
  /// An error with that text.
  public init(_ description: String) { self.description = description }
}
