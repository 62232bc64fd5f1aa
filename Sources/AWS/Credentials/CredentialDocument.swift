import Foundation
import Secrets
import TextForms

/// Credentials as JSON, in the form that metadata services, container agents and credential processes share.
struct CredentialDocument: Decodable {
  let credentials: AWSCredentials
  /// Of a credential process.
  let version: Int?

  private enum CodingKeys: String, CodingKey {
    case version = "Version"
    case key = "AccessKeyId"
    case secret = "SecretAccessKey"
    case token = "Token"
    case sessionToken = "SessionToken"
    case expiration = "Expiration"
  }

  init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    version = try values.decodeIfPresent(Int.self, forKey: .version)
    let token =
      try values.decodeIfPresent(String.self, forKey: .token)
      ?? values.decodeIfPresent(String.self, forKey: .sessionToken)
    var expiration: Date?
    if let text = try values.decodeIfPresent(String.self, forKey: .expiration) {
      guard let date = Timestamp.date(text) else {
        throw DecodingError.dataCorruptedError(forKey: .expiration, in: values, debugDescription: "not a time")
      }
      expiration = date
    }
    credentials = AWSCredentials(
      accessKeyID: try values.decode(String.self, forKey: .key),
      secretAccessKey: Secret(utf8: try values.decode(String.self, forKey: .secret)),
      sessionToken: token.map { Secret(utf8: $0) }, expiration: expiration)
  }

  /// Reads `bytes`, which `source` gave.
  static func read(_ bytes: some Sequence<UInt8>, from source: String) throws -> CredentialDocument {
    // A decoding error shows the value that it stumbled over: it stays here.
    guard let document = try? JSONDecoder().decode(CredentialDocument.self, from: Data(bytes)) else {
      throw AWSError("InvalidResponse", "\(source) gave no credentials that can be read")
    }
    return document
  }
}
