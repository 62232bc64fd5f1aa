import Foundation
import Secrets

/// A role of IAM Identity Center for whom `aws sso login` has logged in; see `SSOTokenCache`.
struct SSOSource: CredentialSource {
  let environment: AWSEnvironment
  let name: String
  /// The profile's settings and, if it names one, those of its `sso-session` above them.
  let settings: [String: String]
  /// Name of that session; `nil` for a profile in the older form, which has the portal's address itself.
  let session: String?
  /// For the command that mends.
  let profile: String

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
    let login = "Run 'aws sso login --profile \(profile)'."
    let token = try await SSOTokenCache(
      environment: environment, name: name, key: session ?? start, isOfSession: session != nil, region: region,
      mend: login
    ).accessToken()
    let path = "/federation/credentials?role_name=\(SigV4Signer.encode(role))&account_id=\(SigV4Signer.encode(account))"
    let answer: HTTPAnswer
    do {
      answer = try await AWSCaller(environment: environment).send(
        .ssoPortal, "GetRoleCredentials", method: "GET", path: path, region: region, credentials: nil,
        headers: [("x-amz-sso_bearer_token", token)])
    } catch let error as AWSError where error.code == "UnauthorizedException" {
      throw error.mended(login)
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
}
