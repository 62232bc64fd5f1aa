import AccessControl
import Audit
import ControlAPI
import Foundation
import PKI
import Secrets
import Testing

@testable import AuthService

private let password = "correct horse battery staple"

@Suite struct TOTPTests {
  /// RFC 6238, appendix B, cut to six digits.
  @Test(arguments: [
    (59, "287082"), (1_111_111_109, "081804"), (1_111_111_111, "050471"), (1_234_567_890, "005924"),
    (2_000_000_000, "279037"), (20_000_000_000, "353130"),
  ])
  func vectors(_ time: Int, _ code: String) {
    let secret = Secret(utf8: "12345678901234567890")
    let now = Date(timeIntervalSince1970: Double(time))
    #expect(TOTP.code(secret, step: TOTP.step(at: now)) == code)
    #expect(TOTP.match(Secret(utf8: code), secret: secret, after: 0, now: now) == Int64(time / 30))
  }

  @Test func oneStepEitherSideAndNeverTwice() {
    let secret = TOTP.makeSecret()
    let now = Date(timeIntervalSince1970: 1_700_000_000)
    let current = TOTP.step(at: now)
    func match(_ offset: Int64, after last: Int64 = 0) -> Int64? {
      TOTP.match(Secret(utf8: TOTP.code(secret, step: current + offset)), secret: secret, after: last, now: now)
    }
    #expect(match(-1) == current - 1)
    #expect(match(0) == current)
    #expect(match(1) == current + 1)
    #expect(match(2) == nil)
    #expect(match(-2) == nil)
    #expect(match(0, after: current) == nil)
    #expect(match(-1, after: current) == nil)
    #expect(match(1, after: current) == current + 1)
    for wrong in ["", "12345", "1234567", "abcdef"] {
      #expect(TOTP.match(Secret(utf8: wrong), secret: secret, after: 0, now: now) == nil)
    }
  }

  /// RFC 4648, section 10, and a length that needs no padding.
  @Test func base32() {
    #expect(TOTP.base32(Secret(utf8: "foobar")) == "MZXW6YTBOI")
    #expect(TOTP.base32(Secret(utf8: "12345678901234567890")) == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
  }

  @Test func uriEscapesNames() {
    let uri = TOTP.uri(Secret(utf8: "12345678901234567890"), user: "a@b.c", cluster: "x y&z")
    #expect(uri.hasPrefix("otpauth://totp/x%20y%26z:a%40b.c?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=x%20y%26z&"))
  }
}

@Suite struct SecondFactorTests {
  private func link(_ invite: Invite) -> String { String(invite.url.split(separator: "/").last ?? "") }

  /// The app's side: decodes what the link offers and computes codes by itself.
  private func secret(_ details: InviteDetails) throws -> Secret {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    let bits = try #require(details.otpSecret).flatMap { character in
      let value = alphabet.firstIndex(of: character) ?? 0
      return (0..<5).reversed().map { value >> $0 & 1 }
    }
    return Secret(
      (0..<bits.count / 8).map { index in UInt8(bits[index * 8..<index * 8 + 8].reduce(0) { $0 * 2 + $1 }) })
  }

  private func enrol(_ server: AuthServer, _ invite: Invite) throws -> Secret {
    let details = try server.inviteDetails(link(invite))
    let secret = try secret(details)
    // The code of the step before: those of now and later stay for the logins. It is good for the rest of this step
    // only, so there must be enough left of that.
    let elapsed = Date().timeIntervalSince1970.truncatingRemainder(dividingBy: TOTP.period)
    if elapsed > 20 { Thread.sleep(forTimeInterval: TOTP.period - elapsed) }
    let code = TOTP.code(secret, step: TOTP.step(at: Date()) - 1)
    let accepted = try server.acceptInvite(link(invite), password: Secret(utf8: password), otp: Secret(utf8: code))
    #expect(accepted.hasSecondFactor)
    return secret
  }

  private func login(_ server: AuthServer, _ user: String, _ password: String, otp: String?) async -> String? {
    do {
      let request = try KeyPair.generate().signingRequestPEM(commonName: user)
      _ = try await server.login(
        LoginRequest(username: user, password: password, otp: otp, signingRequestPEM: request, ttlSeconds: nil),
        from: "127.0.0.1")
      return nil
    } catch {
      return "\(error)"
    }
  }

  private let refusal = "wrong user name, password or one-time code"

  @Test func aCodeIsDemandedAndGoodOnce() async throws {
    try await withServer { server, _ in
      let secret = try enrol(server, try server.addUser(UserListing(name: "ann", roles: [], traits: [:]), by: "test"))
      let code = TOTP.code(secret, step: TOTP.step(at: Date()))
      #expect(await login(server, "ann", password, otp: nil) == refusal)
      // The wrong password does not use the code up.
      #expect(await login(server, "ann", "something else here", otp: code) == refusal)
      #expect(await login(server, "ann", password, otp: code) == nil)
      #expect(await login(server, "ann", password, otp: code) == refusal)
    }
  }

  @Test func ofManyLoginsWithOneCodeOneWins() async throws {
    try await withServer { server, _ in
      let secret = try enrol(server, try server.addUser(UserListing(name: "bea", roles: [], traits: [:]), by: "test"))
      let code = TOTP.code(secret, step: TOTP.step(at: Date()) + 1)
      let wins = await withTaskGroup(of: Bool.self) { group in
        for _ in 0..<4 { group.addTask { await self.login(server, "bea", password, otp: code) == nil } }
        return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(wins == 1)
    }
  }

  @Test func wrongCodesCountAsWrongPasswords() async throws {
    try await withServer { server, _ in
      let secret = try enrol(server, try server.addUser(UserListing(name: "cid", roles: [], traits: [:]), by: "test"))
      for _ in 0..<10 { #expect(await login(server, "cid", password, otp: "000000x") == refusal) }
      let code = TOTP.code(secret, step: TOTP.step(at: Date()))
      #expect(await login(server, "cid", password, otp: code)?.hasPrefix("too many wrong passwords") == true)
    }
  }

  @Test func theClusterDecidesWhoNeedsOne() async throws {
    try await withServer { server, _ in
      let dee = try server.addUser(UserListing(name: "dee", roles: [], traits: [:]), by: "test")
      #expect(try !server.acceptInvite(link(dee), password: Secret(utf8: password)).hasSecondFactor)
      #expect(await login(server, "dee", password, otp: nil) == nil)
      try server.configureSecondFactor(.otp)
      #expect(await login(server, "dee", password, otp: nil)?.contains("has none") == true)
      #expect(await login(server, "dee", "something else here", otp: nil) == refusal)
      let eve = try server.addUser(UserListing(name: "eve", roles: [], traits: [:]), by: "test")
      #expect(throws: AuthError.self) { try server.acceptInvite(link(eve), password: Secret(utf8: password)) }
      #expect(throws: AuthError.self) {
        try server.acceptInvite(link(eve), password: Secret(utf8: password), otp: Secret(utf8: "000000x"))
      }
      // The link has survived both mistakes.
      let secret = try enrol(server, eve)
      #expect(await login(server, "eve", password, otp: nil) == refusal)
      try server.configureSecondFactor(.off)
      #expect(await login(server, "eve", password, otp: nil) == nil)
      #expect(await login(server, "eve", "something else here", otp: nil) == "wrong user name or password")
      try server.configureSecondFactor(.on)
      #expect(await login(server, "eve", password, otp: TOTP.code(secret, step: TOTP.step(at: Date()))) == nil)
      // A reset takes both away.
      let again = try server.resetUser("eve", by: "test")
      #expect(await login(server, "eve", password, otp: TOTP.code(secret, step: TOTP.step(at: Date()) + 1)) == refusal)
      #expect(
        try self.secret(try server.inviteDetails(link(again))).withBytes(Array.init) != secret.withBytes(Array.init))
    }
  }

  @Test func theFileOutranksTheResource() async throws {
    try await withServer { server, _ in
      func put(_ mode: SecondFactorMode, force: Bool) throws {
        let preference = AuthPreference(secondFactor: mode, origin: "")
        _ = try server.putAuthPreference(
          ResourceRequest(resource: preference, condition: force ? .any : .absent), by: "test")
      }
      #expect(try server.authPreference().spec.secondFactor == .optional)
      try put(.off, force: false)
      #expect(try server.authPreference().metadata.labels == ["teleport.dev/origin": "dynamic"])
      try server.configureSecondFactor(nil)
      #expect(try server.authPreference().spec.secondFactor == .off)
      try server.configureSecondFactor(.on)
      #expect(throws: AuthError.self) { try put(.off, force: false) }
      try put(.off, force: true)
      #expect(try server.authPreference().spec.secondFactor == .off)
      try server.configureSecondFactor(.on)
      try server.configureSecondFactor(nil)
      #expect(try server.authPreference().spec.secondFactor == .optional)
    }
  }

  @Test func secretsAreUnreadableWithoutTheKeyFile() async throws {
    let directory = NSTemporaryDirectory() + "factor-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try PrivateFile.makeDirectory(directory)
    let secret: Secret
    do {
      let server = try openServer(directory)
      secret = try enrol(server, try server.addUser(UserListing(name: "fay", roles: [], traits: [:]), by: "test"))
    }
    for file in try FileManager.default.contentsOfDirectory(atPath: directory) where file.hasPrefix("state.sqlite") {
      let bytes = try #require(FileManager.default.contents(atPath: directory + "/" + file))
      #expect(bytes.range(of: Data(secret.withBytes(Array.init))) == nil)
      #expect(bytes.range(of: Data(TOTP.base32(secret).utf8)) == nil)
    }
    let path = directory + "/second_factor.key"
    let key = try PrivateFile.read(path)
    try PrivateFile.write(Data(repeating: 7, count: 32).base64EncodedString(), to: path)
    #expect(throws: AuthError.self) { try openServer(directory) }
    try FileManager.default.removeItem(atPath: path)
    #expect(throws: AuthError.self) { try openServer(directory) }
    try PrivateFile.write(key, to: path)
    let server = try openServer(directory)
    #expect(await login(server, "fay", password, otp: TOTP.code(secret, step: TOTP.step(at: Date()))) == nil)
  }
}
