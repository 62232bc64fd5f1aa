import Foundation
import Secrets

/// Proof of an AWS identity to another party: the signature of an sts:GetCallerIdentity request which that party sends.
///
/// Only what the signer alone can know is in it. The rest of the request (host, path, body, headers and among them the
/// challenge) is made anew by whoever checks, so that no other request can be passed off as this one.
public struct CallerIdentityProof: Sendable {
  /// Region of the STS endpoint that the request was signed for.
  public let region: String
  /// Value of X-Amz-Date.
  public let date: String
  /// Value of Authorization.
  public let authorization: String
  /// Value of X-Amz-Security-Token, of temporary credentials.
  public let securityToken: Secret?

  public init(region: String, date: String, authorization: String, securityToken: Secret?) {
    self.region = region
    self.date = date
    self.authorization = authorization
    self.securityToken = securityToken
  }

  /// Proves this host's own identity by the credentials that it finds.
  ///
  /// - Parameter challenge: letters and digits that the checking party has drawn for this proof.
  /// - Throws: `AWSError` if there are no credentials.
  public static func make(challenge: String, in environment: AWSEnvironment) async throws -> CallerIdentityProof {
    let region = environment.region ?? "us-east-1"
    let request = try unsigned(region: region, challenge: challenge, in: environment)
    let credentials = try await CredentialChain(environment: environment).find().credentials
    let signed = SigV4Signer(service: "sts", region: region).sign(request, with: credentials, at: environment.clock.now)
    func value(_ name: String) -> String { signed.headers.first { $0.name == name }?.value ?? "" }
    return CallerIdentityProof(
      region: region, date: value("X-Amz-Date"), authorization: value("Authorization"),
      securityToken: credentials.sessionToken)
  }

  /// Has STS say whose proof this is.
  ///
  /// - Parameter environment: of the checking party: it alone says where STS is, and how its answer is waited for.
  /// - Throws: `AWSError`: `InvalidParameter` for a proof out of shape, STS's own code if it refuses, or what went wrong
  ///   on the way.
  public func callerIdentity(challenge: String, in environment: AWSEnvironment) async throws -> CallerIdentity {
    var request = try Self.unsigned(region: region, challenge: challenge, in: environment)
    try checkShape()
    request.headers.append(("X-Amz-Date", date))
    if let token = securityToken?.revealText() { request.headers.append(("X-Amz-Security-Token", token)) }
    request.headers.append(("Authorization", authorization))
    let answer = try await environment.transport.send(request, timeout: Self.timeout)
    guard answer.body.count <= Self.maximumAnswer else {
      throw AWSError("InvalidResponse", "STS answered with more than \(Self.maximumAnswer) bytes")
    }
    guard answer.status == 200 else {
      throw ErrorAnswer.read(answer, .sts, "GetCallerIdentity")
    }
    let result = try XMLTree.read(answer.body)["GetCallerIdentityResult"]
    guard let account = result?.value("Account"), let arn = result?.value("Arn") else {
      throw AWSError("InvalidResponse", "STS answered GetCallerIdentity without account and ARN")
    }
    return CallerIdentity(account: account, arn: arn)
  }

  private static let challengeHeader = "X-Sallyport-Challenge"
  private static let body = Array("Action=GetCallerIdentity&Version=2011-06-15".utf8)
  /// Seconds.
  private static let timeout: TimeInterval = 5
  private static let maximumAnswer = 64 << 10
  private static let maximumToken = 8 << 10

  private static func unsigned(
    region: String, challenge: String, in environment: AWSEnvironment
  ) throws -> AWSRequest {
    let override = environment.variable("AWS_ENDPOINT_URL_STS") ?? environment.variable("AWS_ENDPOINT_URL")
    guard let suffix = domain(ofRegion: region) else {
      throw AWSError(
        "InvalidParameter", "'\(region.prefix(64))' is not a region of AWS, AWS China or AWS GovCloud",
        mend: "Check AWS_REGION on the joining host.")
    }
    guard let url = URL(string: override ?? "https://sts.\(region).\(suffix)/"), let host = url.host else {
      throw AWSError("InvalidParameter", "AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL is not a URL")
    }
    let address = url.port.map { "\(host):\($0)" } ?? host
    return AWSRequest(
      method: "POST", url: url.path.isEmpty ? url.appendingPathComponent("/") : url,
      headers: [
        ("Host", address), ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
        (challengeHeader, challenge),
      ], body: body)
  }

  /// The domain of a region's endpoints; `nil` for what is none of the public partitions (botocore, partitions.json).
  static func domain(ofRegion region: String) -> String? {
    let parts = region.split(separator: "-", omittingEmptySubsequences: false)
    let letters = { (text: Substring) in !text.isEmpty && text.utf8.allSatisfy { (0x61...0x7a).contains($0) } }
    guard (3...4).contains(parts.count), region.utf8.count <= 32, let number = parts.last, number.utf8.count == 1,
      number.utf8.allSatisfy({ (0x31...0x39).contains($0) }), parts.dropLast().allSatisfy(letters)
    else { return nil }
    switch (parts[0], parts.count) {
    case ("cn", 3): return "amazonaws.com.cn"
    case ("us", 4): return parts[1] == "gov" ? "amazonaws.com" : nil
    case (let area, 3) where commercialAreas.contains(String(area)): return "amazonaws.com"
    default: return nil
    }
  }

  private static let commercialAreas: Set<String> = ["af", "ap", "ca", "eu", "il", "me", "mx", "sa", "us"]

  /// Nothing but a signature of exactly the headers that the request has, and no byte that could end a header's value.
  private func checkShape() throws {
    let token = securityToken?.revealText()
    let isPlain = { (text: String) in text.utf8.allSatisfy { (0x21...0x7e).contains($0) } }
    let names = ["content-type", "host", "x-amz-date"] + (token == nil ? [] : ["x-amz-security-token"])
    let signed = (names + [Self.challengeHeader.lowercased()]).joined(separator: ";")
    let fields = authorization.components(separatedBy: ", ")
    guard date.utf8.count == 16, isPlain(date), authorization.utf8.count <= 1024,
      token.map({ $0.utf8.count <= Self.maximumToken && !$0.isEmpty && isPlain($0) }) ?? true, fields.count == 3,
      fields[0].hasPrefix("AWS4-HMAC-SHA256 Credential="), fields[1] == "SignedHeaders=\(signed)",
      fields[2].hasPrefix("Signature="), fields.dropFirst().allSatisfy(isPlain)
    else {
      throw AWSError("InvalidParameter", "the proof is not the signature of a request with this challenge")
    }
    let scope = fields[0].dropFirst("AWS4-HMAC-SHA256 Credential=".count)
    guard isPlain(String(scope)), scope.hasSuffix("/\(date.prefix(8))/\(region)/sts/aws4_request") else {
      throw AWSError("InvalidParameter", "the proof is not for STS of region \(region) and its date")
    }
  }
}
