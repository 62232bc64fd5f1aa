import Foundation
import X509

/// What a person wants to know of a database's certificate, trusted or not.
public struct CertificateFacts {
  let subject: String
  public let issuer: String
  /// DNS names and addresses of the Subject Alternative Name; empty: the legacy Common Name only.
  let names: [String]
  let notBefore: Date
  public let notAfter: Date

  /// `nil` if the bytes are no certificate.
  init?(der: [UInt8]) {
    guard let certificate = try? Certificate(derEncoded: der) else { return nil }
    self.init(certificate)
  }

  /// Of the first certificate in `pem`; `nil` if there is none.
  public init?(pem: String) {
    guard let certificate = try? Certificate(pemEncoded: pem) else { return nil }
    self.init(certificate)
  }

  private init(_ certificate: Certificate) {
    subject = "\(certificate.subject)"
    issuer = "\(certificate.issuer)"
    notBefore = certificate.notValidBefore
    notAfter = certificate.notValidAfter
    // An extension that cannot be read vouches for no name.
    let alternatives = (try? certificate.extensions.subjectAlternativeNames) ?? nil
    names = (alternatives ?? SubjectAlternativeNames([])).compactMap { name in
      switch name {
      case .dnsName(let name): name
      case .ipAddress(let address): Self.address(Array(address.bytes))
      default: nil
      }
    }
  }

  /// One line: whose it is, by whom, until when.
  var summary: String {
    let shown = names.isEmpty ? "no Subject Alternative Name" : names.prefix(4).joined(separator: ", ")
    let more = names.count > 4 ? " and \(names.count - 4) more" : ""
    return "\(subject) (\(shown)\(more)), issued by \(issuer), valid until \(notAfter.formatted(.iso8601))"
  }

  private static func address(_ bytes: [UInt8]) -> String? {
    switch bytes.count {
    case 4: bytes.map(String.init).joined(separator: ".")
    case 16:
      stride(from: 0, to: 16, by: 2).map { String(Int(bytes[$0]) << 8 | Int(bytes[$0 + 1]), radix: 16) }.joined(
        separator: ":")
    default: nil
    }
  }
}
