import Crypto
import Foundation
import Secrets
import TextForms

/// A role of IAM Identity Center for whom `aws sso login` has logged in: the token comes from that tool's cache.
struct SSOSource: CredentialSource {
  let environment: AWSEnvironment
  let name: String
  /// The profile's settings and, if it names one, those of its `sso-session` above them.
  let settings: [String: String]
  /// Name of that session; `nil` for a profile in the older form, which has the portal's address itself.
  let session: String?
  /// For the command that mends.
  let profile: String

  private struct Token: Decodable {
    let accessToken: String
    let expiresAt: String
  }

  private struct Answer: Decodable {
    struct Credentials: Decodable {
      let accessKeyId: String
      let secretAccessKey: String
      let sessionToken: String
      /// Milliseconds since 1970.
      let expiration: Double
    }
    let roleCredentials: Credentials
  }

  func find() async throws -> FoundCredentials {
    func need(_ key: String) throws -> String {
      if let value = settings[key] { return value }
      throw AWSError("InvalidParameter", "\(name): \(key) is missing", mend: "Run 'aws configure sso'.")
    }
    let (account, role) = (try need("sso_account_id"), try need("sso_role_name"))
    let (region, start) = (try need("sso_region"), try need("sso_start_url"))
    let token = try cachedToken(session ?? start)
    let path = "/federation/credentials?role_name=\(SigV4Signer.encode(role))&account_id=\(SigV4Signer.encode(account))"
    let answer: HTTPAnswer
    do {
      answer = try await AWSCaller(environment: environment).send(
        .ssoPortal, "GetRoleCredentials", method: "GET", path: path, region: region, credentials: nil,
        headers: [("x-amz-sso_bearer_token", token)])
    } catch let error as AWSError where error.code == "UnauthorizedException" {
      throw error.mended("Run 'aws sso login --profile \(profile)'.")
    }
    guard let found = try? JSONDecoder().decode(Answer.self, from: Data(answer.body)).roleCredentials else {
      throw AWSError("InvalidResponse", "the portal of IAM Identity Center gave no credentials that can be read")
    }
    let credentials = AWSCredentials(
      accessKeyID: found.accessKeyId, secretAccessKey: Secret(utf8: found.secretAccessKey),
      sessionToken: Secret(utf8: found.sessionToken), expiration: Date(timeIntervalSince1970: found.expiration / 1000))
    return FoundCredentials(
      credentials: credentials, source: "\(name) (SSO role '\(role)' of account \(account))")
  }

  private func cachedToken(_ key: String) throws -> String {
    let home = environment.variable("HOME") ?? NSHomeDirectory()
    let file = "\(home)/.aws/sso/cache/\(Hex.encode(Insecure.SHA1.hash(data: Data(key.utf8)))).json"
    let mend = "Run 'aws sso login --profile \(profile)'."
    guard FileManager.default.fileExists(atPath: file) else {
      throw AWSError("InvalidParameter", "\(name): nobody has logged in (no \(file))", mend: mend)
    }
    let text = try SmallFile.text(file, name)
    guard let token = try? JSONDecoder().decode(Token.self, from: Data(text.utf8)),
      let end = AWSTimestamp.date(token.expiresAt),
      token.accessToken.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
    else { throw AWSError("InvalidParameter", "\(name): \(file) holds no token that can be read", mend: mend) }
    guard end > environment.clock.now else {
      throw AWSError("ExpiredToken", "\(name): the login ended at \(end.formatted(.iso8601))", mend: mend)
    }
    return token.accessToken
  }
}
