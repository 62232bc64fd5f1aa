import Secrets
import Testing

@testable import PostgresWire

private func request(_ code: UInt32, _ rest: [UInt8] = []) -> [UInt8] {
  var body: [UInt8] = []
  body.append(uint32: code)
  return body + rest
}

private func bytes(_ step: ServerAuthentication.Step?) -> [UInt8] {
  if case .send(let bytes)? = step { bytes } else { [] }
}

struct AuthenticationTests {
  private let password = Secret(utf8: "pencil")
  private let r = UInt8(ascii: "R")

  private func login(verified: Bool = true, nonce: String = "rOprNGfwEbeRWgbNEkqO", endPoint: [UInt8]? = nil)
    -> ServerAuthentication
  {
    ServerAuthentication(
      user: "user", password: password, tlsServerEndPoint: endPoint, isTLSVerified: verified, nonce: Array(nonce.utf8))
  }

  /// The example of RFC 7677 section 3; there the user name is in the exchange, in PostgreSQL it is empty, so proof and
  /// signature are computed anew by the same formulas from the derived keys.
  @Test func scramKeysOfTheRFCExample() throws {
    var client = ScramClient(nonce: Array("rOprNGfwEbeRWgbNEkqO".utf8), endPoint: nil, serverOffersBinding: false)
    let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    let keys = try client.serverFirst(Array(challenge.utf8), password: password).run()
    // StoredKey and ServerKey for "pencil", this salt and 4096 rounds, from PostgreSQL's own scram_build_secret.
    #expect(
      keys.serverKey.withBytes { Base64.encode(Array($0)) }
        == Array("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=".utf8))
  }

  @Test func scramRefusesWhatIsNotTrustworthy() throws {
    for challenge in [
      "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
      "r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096", "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095",
      "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001", "r=rOprNGfwEbeRWgbNEkqOx,s=!!!!,i=4096",
      "r=rOprNGfwEbeRWgbNEkqO" + String(repeating: "x", count: 300) + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "", ",,,",
      "m=x",
    ] {
      var session = login()
      _ = try session.handle(type: r, body: request(10, Array("SCRAM-SHA-256\0\0".utf8)))
      #expect(throws: AuthenticationFailure.self) {
        try session.handle(type: r, body: request(11, Array(challenge.utf8)))
      }
    }
  }

  @Test func successWithoutTheServersProofIsRefused() throws {
    var session = login()
    _ = try session.handle(type: r, body: request(10, Array("SCRAM-SHA-256\0\0".utf8)))
    #expect(throws: AuthenticationFailure.self) { try session.handle(type: r, body: request(0)) }
    var wrong = login()
    _ = try wrong.handle(type: r, body: request(10, Array("SCRAM-SHA-256\0\0".utf8)))
    let challenge = "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    guard case .derive(let derivation) = try wrong.handle(type: r, body: request(11, Array(challenge.utf8))) else {
      return #expect(Bool(false))
    }
    _ = try wrong.resume(with: derivation.run())
    #expect(throws: AuthenticationFailure.self) {
      try wrong.handle(type: r, body: request(12, Array("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".utf8)))
    }
  }

  @Test func channelBindingIsChosenWhenOffered() throws {
    var bound = login(endPoint: [1, 2, 3])
    let plus = bytes(try bound.handle(type: r, body: request(10, Array("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0".utf8))))
    #expect(String(decoding: plus, as: UTF8.self).contains("SCRAM-SHA-256-PLUS\0"))
    #expect(String(decoding: plus, as: UTF8.self).contains("p=tls-server-end-point,,"))
    var offered = login(endPoint: [1, 2, 3])
    let without = bytes(try offered.handle(type: r, body: request(10, Array("SCRAM-SHA-256\0\0".utf8))))
    #expect(String(decoding: without, as: UTF8.self).contains("y,,n=,r="))
  }

  @Test func bindingThatCannotBeDoneIsRefused() throws {
    var unbound = login()
    #expect { try unbound.handle(type: r, body: request(10, Array("SCRAM-SHA-256-PLUS\0\0".utf8))) } throws: {
      ($0 as? AuthenticationFailure)?.wireError(user: "u").message.contains("insists on channel binding") == true
    }
    // Nothing to bind to, but the database does not insist: 'n' says that we could not have.
    var free = login()
    let first = bytes(try free.handle(type: r, body: request(10, Array("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0".utf8))))
    #expect(String(decoding: first, as: UTF8.self).contains("SCRAM-SHA-256\0"))
    #expect(String(decoding: first, as: UTF8.self).contains("n,,n=,r="))
  }

  @Test func keysThatCannotBeDerivedEndTheLogin() {
    for (password, iterations) in [("pencil", 0), ("", 4096)] {
      let derivation = ScramDerivation(password: Secret(utf8: password), salt: [1, 2], iterations: iterations)
      #expect(throws: AuthenticationFailure.self) { try derivation.run() }
    }
  }

  @Test func redshiftDigestVector() {
    let digest = RedshiftDigest.digest(
      password: Secret(utf8: "Passw0rd!"), salt: Array(0...15), serverNonce: Array(100...131),
      clientNonce: Array("1700000000000".utf8))
    let hex = digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    #expect(hex == "5eeaedb675a1a3979dc6c146e517aee41b4a7dc7df030dd61dec18956d862eb7")
  }

  @Test func redshiftDigestMessage() throws {
    var body: [UInt8] = []
    body.append(uint32: 0)
    body.append(uint32: 2)
    body += [1, 2]
    body.append(uint32: 1)
    body += [3]
    var session = login()
    let answer = bytes(try session.handle(type: r, body: request(13, body)))
    // 'd', length, digest length 32, digest, nonce length 24, nonce.
    #expect(answer.count == 1 + 4 + 4 + 32 + 4 + 24)
    #expect(Array(answer[0..<9]) == [0x64, 0, 0, 0, 68, 0, 0, 0, 32])
    var short = login()
    #expect(throws: AuthenticationFailure.self) { try short.handle(type: r, body: request(13, Array(body.dropLast()))) }
  }

  @Test func md5IsAsPostgresComputesIt() throws {
    var session = login()
    let answer = bytes(try session.handle(type: r, body: request(5, [1, 2, 3, 4])))
    #expect(answer.count == 1 + 4 + 35 + 1)
    #expect(Array(answer[5..<8]) == Array("md5".utf8))
    var malformed = login()
    #expect(throws: AuthenticationFailure.self) { try malformed.handle(type: r, body: request(5, [1, 2, 3])) }
  }

  @Test func digestsOnlyOverVerifiedTLS() throws {
    var digest: [UInt8] = []
    for field in [[], [1, 2], [3]] as [[UInt8]] {
      digest.append(uint32: UInt32(field.count))
      digest += field
    }
    for body in [request(5, [1, 2, 3, 4]), request(13, digest)] {
      var verified = login()
      #expect(!bytes(try verified.handle(type: r, body: body)).isEmpty)
      var unverified = login(verified: false)
      #expect { try unverified.handle(type: r, body: body) } throws: {
        ($0 as? AuthenticationFailure)?.wireError(user: "u").hint?.contains("tls.mode") == true
      }
    }
    var scram = login(verified: false)
    #expect(!bytes(try scram.handle(type: r, body: request(10, Array("SCRAM-SHA-256\0\0".utf8)))).isEmpty)
  }

  @Test func cleartextOnlyOverVerifiedTLS() throws {
    var verified = login()
    #expect(bytes(try verified.handle(type: r, body: request(3))) == [0x70, 0, 0, 0, 11] + Array("pencil".utf8) + [0])
    var unverified = login(verified: false)
    #expect(throws: AuthenticationFailure.self) { try unverified.handle(type: r, body: request(3)) }
  }

  @Test(arguments: [2, 7, 8, 9, 11, 12, 14, 99] as [UInt32])
  func otherRequestsAreRefusedClearly(code: UInt32) {
    var session = login()
    #expect(throws: AuthenticationFailure.self) { try session.handle(type: r, body: request(code)) }
  }

  @Test func passwordIsNeverShown() {
    #expect("\(password)" == "<secret>")
    #expect(String(describing: [password]) == "[<secret>]")
  }

  @Test func base64RoundTripAndStrictness() {
    for count in 0..<50 {
      let data = (0..<count).map { UInt8($0 &* 37 & 0xff) }
      #expect(Base64.decode(Base64.encode(data)) == data)
    }
    for bad in ["a", "ab=", "a===", "=abc", "ab=c", "a\n==", "/x=="] { #expect(Base64.decode(Array(bad.utf8)) == nil) }
  }

  @Test func loginReaderCutsAnywhereAndBoundsLengths() throws {
    let stream = Encode.authenticationOk() + Encode.readyForQuery(status: 0x49)
    for cut in 0...stream.count {
      var reader = BackendMessageReader()
      var types: [UInt8] = []
      for part in [stream[..<cut], stream[cut...]] {
        try Array(part).withUnsafeBytes { try reader.append($0) }
        while let message = try reader.next() { types.append(message.type) }
      }
      #expect(types == Array("RZ".utf8))
    }
    for length in [0, 3, 65_540, 0xffff_ffff] as [UInt32] {
      var bytes: [UInt8] = [0x52]
      bytes.append(uint32: length)
      var reader = BackendMessageReader()
      try bytes.withUnsafeBytes { try reader.append($0) }
      #expect(throws: WireError.self) { try reader.next() }
    }
  }

  @Test func aLoginMayNotConsistOfAnyNumberOfMessages() throws {
    let notice = Encode.message("N", Array("Mx\0\0".utf8))
    let batch = Array(repeatElement(notice, count: 5_000).joined())
    var reader = BackendMessageReader()
    var taken = 0
    #expect {
      for _ in 0..<100 {
        try batch.withUnsafeBytes { try reader.append($0) }
        while try reader.next() != nil { taken += 1 }
      }
    } throws: { ($0 as? WireError)?.state == .programLimit }
    #expect(taken == 10_000)

    let long = Encode.message("N", [UInt8](repeating: 0x41, count: 60_000))
    var longReader = BackendMessageReader()
    var bytes = 0
    #expect {
      for _ in 0..<100 {
        try long.withUnsafeBytes { try longReader.append($0) }
        while let message = try longReader.next() { bytes += message.body.count }
      }
    } throws: { ($0 as? WireError)?.state == .programLimit }
    #expect(bytes <= 1 << 20)
  }

  @Test func manySmallMessagesCostNoMoreThanTheirBytes() throws {
    // Cutting each message off the front would move 5,000 × 32 KiB on average.
    let batch = Array(repeatElement(Encode.message("N", [0]), count: 9_999).joined())
    var reader = BackendMessageReader()
    let took = try ContinuousClock().measure {
      try batch.withUnsafeBytes { try reader.append($0) }
      while try reader.next() != nil {}
    }
    #expect(took < .milliseconds(500))
    #expect(reader.takeRest().isEmpty)
  }
}
