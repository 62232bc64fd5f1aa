import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation
import PKI
import Secrets

/// Where the two halves of a login come from: the terminal, unless a script names files.
struct SecretOptions: ParsableArguments {
  @Option(help: "Read the password from a file, or the next line of stdin with '-'.") var passwordFile: String?
  @Option(help: "Read the one-time code from a file, or the next line of stdin with '-'.") var otpFile: String?

  func password(_ prompt: String) throws -> Secret {
    try passwordFile.map(Prompt.readFile)
      ?? Prompt.ask(prompt, isShown: false, mend: "use --password-file=FILE, or - for stdin")
  }

  /// The code, if the cluster wants one; `nil` for none.
  func code(_ mode: SecondFactorMode) throws -> Secret? {
    guard mode != .off else { return nil }
    if let otpFile { return Self.withoutSpaces(try Prompt.readFile(otpFile)) }
    // A script that gives only the password has no second factor to give, where it is a choice.
    if mode == .optional, passwordFile != nil { return nil }
    let prompt =
      mode.isRequired ? "One-time code of your app: " : "One-time code of your app (Enter if you have none): "
    let code = Self.withoutSpaces(
      try Prompt.ask(prompt, isShown: true, mend: "use --otp-file=FILE, or - for the next line of stdin"))
    return code.count == 0 ? nil : code
  }

  /// Apps show codes as two groups.
  private static func withoutSpaces(_ code: Secret) -> Secret {
    code.withBytes { bytes in Secret(bytes.filter { $0 != 0x20 }) }
  }
}

/// Proving to a cluster who one is.
struct Authentication {
  let address: ProxyAddress
  let user: String
  /// Minutes; `nil` leaves it to the roles.
  var ttl: Int?
  var insecure = false

  /// The longest `--ttl`: the server's roles shorten it anyway.
  private static let maximumMinutes = 365 * 24 * 60

  /// What a login gives, in the tool's own terms.
  struct Outcome {
    let profile: Profile
    let identity: ClientIdentity
    let hostCAPEM: String
  }

  func logIn(_ secrets: SecretOptions) async throws -> Outcome {
    guard ttl.map({ (1...Self.maximumMinutes).contains($0) }) ?? true else {
      throw ToolError("--ttl is in minutes, from 1 to \(Self.maximumMinutes)")
    }
    return try await APIClient(address: "\(address)", insecure: insecure).closing { client in
      // Told before the password is typed: a wrong address or an untrusted certificate.
      let ping: Ping = try await client.get("/v1/webapi/ping")
      let password = try secrets.password("Password of \(Terminal.safe(user)): ")
      let code = try secrets.code(ping.auth.secondFactor)
      let key = KeyPair.generate()
      let request = LoginRequest(
        username: user, password: password.revealText() ?? "", otp: code?.revealText(),
        signingRequestPEM: try key.signingRequestPEM(commonName: user), ttlSeconds: ttl.map { $0 * 60 })
      let response: LoginResponse = try await post(request, by: client, gaveCode: code != nil, ping.auth.secondFactor)
      let profile = Profile(
        proxy: "\(address)", user: response.username, cluster: ping.clusterName, roles: response.roles,
        traits: response.traits, validUntil: response.validUntil)
      return Outcome(
        profile: profile,
        identity: ClientIdentity(certificatePEM: response.certificatePEM, keyPEM: key.pem),
        hostCAPEM: response.hostCAPEM)
    }
  }

  private func post(
    _ request: LoginRequest, by client: APIClient, gaveCode: Bool, _ mode: SecondFactorMode
  ) async throws -> LoginResponse {
    do {
      return try await client.post("/v1/webapi/login", request)
    } catch let error as ToolError where error.status == 401 && error.hint == nil && mode != .off && !gaveCode {
      throw ToolError(
        error.message, hint: "if you have set up an authenticator app, its code is needed too: --otp-file",
        status: error.status)
    }
  }
}
