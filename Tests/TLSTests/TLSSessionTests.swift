import Foundation
import PKI
import Secrets
import TestSupport
import Testing

@testable import TLS

/// A self-signed certificate that `openssl req` made.
private struct SelfSigned {
  let pem: String
  let key: Secret

  init(_ arguments: String...) throws { try self.init(arguments) }

  init(_ arguments: [String]) throws {
    let folder = NSTemporaryDirectory() + "tls-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    _ = try Self.openssl(
      ["req", "-x509", "-nodes", "-days", "1", "-keyout", folder + "/key", "-out", folder + "/crt"] + arguments)
    pem = try String(contentsOfFile: folder + "/crt", encoding: .utf8)
    key = Secret(utf8: try String(contentsOfFile: folder + "/key", encoding: .utf8))
  }

  func server() throws -> ServerTLSContext {
    try ServerTLSContext(
      certificateChainPEM: pem, privateKeyPEM: key, clientCAPEMs: [], applicationProtocols: ["postgresql"])
  }

  /// The digest of the whole certificate as OpenSSL's own command computes it.
  func fingerprint(_ digest: String) throws -> [UInt8] {
    let text = try Self.openssl(["x509", "-noout", "-fingerprint", "-\(digest)"], input: pem)
    let hex = text.split(separator: "=").last.map { $0.split(whereSeparator: { $0 == ":" || $0.isNewline }) } ?? []
    return hex.compactMap { UInt8($0, radix: 16) }
  }

  private static func openssl(_ arguments: [String], input: String = "") throws -> String {
    let process = Process()
    let (stdin, stdout) = (Pipe(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
    process.arguments = arguments
    process.standardInput = stdin
    process.standardOutput = stdout
    process.standardError = FileHandle.nullDevice
    try process.run()
    try stdin.fileHandleForWriting.write(contentsOf: Data(input.utf8))
    try stdin.fileHandleForWriting.close()
    let output = try stdout.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return String(decoding: output, as: UTF8.self)
  }
}

struct TLSSessionTests {
  @Test(arguments: [1, 7, 1000, Int.max]) func dataPassesBothWaysHoweverItIsCut(piece: Int) throws {
    let authorities = try Authorities()
    let client = End(client: try authorities.client(certificate: try authorities.userCertificate()), name: "localhost")
    let server = End(server: authorities.server)
    let failure = shake(client, server, piece: piece)
    #expect(failure.client == nil && failure.server == nil)
    #expect(server.session.peerCertificateDER != nil)
    #expect(server.session.serverName == "localhost")
    #expect(client.session.isPeerVerified)
    #expect(client.session.protocolVersion == "TLSv1.3")
    #expect(client.session.serverEndPointHash?.count == 32)
    // Small pieces are cut off the front of an array: what they cost grows with the square.
    let size = piece < 1000 ? 40_000 : piece == 1000 ? 400_000 : 10_000_000
    let data = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
    for (from, to) in [(client, server), (server, client)] {
      #expect(data.withUnsafeBytes { from.session.write($0) } == nil)
      var received: [UInt8] = []
      var scratch = [UInt8](repeating: 0, count: 20_000)
      while !from.box.bytes.isEmpty {
        let part = Array(from.box.bytes.prefix(min(piece, 1 << 20)))
        from.box.bytes.removeFirst(part.count)
        part.withUnsafeBytes { bytes in
          to.session.setInput(bytes)
          while case .bytes(let count) = scratch.withUnsafeMutableBytes({ to.session.read(into: $0) }) {
            received += scratch[..<count]
          }
          #expect(to.session.unreadInput == 0)
          to.session.clearInput()
        }
      }
      #expect(received == data)
    }
  }

  @Test func clientCertificatesOfOthersAreRefused() throws {
    let authorities = try Authorities()
    let sameName = try CertificateAuthority.make(.user, clusterName: "test")
    let hostAsUser = try authorities.host.issueHost(hostIdentity, names: ["x"], notAfter: Date() + 3600)
    for (certificate, reason) in [
      (try authorities.userCertificate(sameName), TLSFailure.Reason.untrustedIssuer),
      (try authorities.userCertificate(end: Date() - 10), .expired),
      ((hostAsUser.certificatePEM, hostAsUser.key.pem), .untrustedIssuer),
    ] {
      let client = End(client: try authorities.client(certificate: certificate), name: "localhost")
      let server = End(server: authorities.server)
      let failure = shake(client, server)
      let isSameCAKey = failure.server?.reason == .badCertificate && reason == .untrustedIssuer
      #expect(failure.server?.reason == reason || isSameCAKey)
    }
    let anonymous = End(client: try authorities.client(), name: "localhost")
    let server = End(server: authorities.server)
    #expect(shake(anonymous, server).server == nil)
    #expect(server.session.peerCertificateDER == nil)
  }

  @Test func serverNamesAreCheckedAgainstTheSANs() throws {
    let authorities = try Authorities(names: ["db.example.com", "*.wild.example.com", "127.0.0.1"])
    for (name, isGood) in [
      ("db.example.com", true), ("127.0.0.1", true), ("a.wild.example.com", true), ("a.b.wild.example.com", false),
      ("wild.example.com", false), ("other.example.com", false), ("127.0.0.2", false),
    ] {
      let client = End(client: try authorities.client(), name: name)
      let failure = shake(client, End(server: authorities.server)).client
      #expect((failure == nil) == isGood, "\(name)")
      #expect(isGood || failure?.reason == .nameMismatch, "\(name)")
      #expect(
        shake(End(client: try authorities.client(.verifyCA), name: name), End(server: authorities.server)).client == nil
      )
    }
    let stranger = try ClientTLSContext(
      mode: .verifyFull, trustedCAPEM: try CertificateAuthority.make(.host, clusterName: "x").certificatePEM)
    #expect(
      shake(End(client: stranger, name: "db.example.com"), End(server: authorities.server)).client?.reason
        == .untrustedIssuer)
    #expect(
      shake(End(client: try ClientTLSContext(mode: .insecure), name: "x"), End(server: authorities.server)).client
        == nil)
  }

  @Test func namesInTheCommonNameOnlyAreRefusedWithTheMend() throws {
    let made = try SelfSigned("-newkey", "rsa:2048", "-subj", "/CN=old.example.com")
    let client = End(client: try ClientTLSContext(mode: .verifyFull, trustedCAPEM: made.pem), name: "old.example.com")
    let failure = shake(client, End(server: try made.server())).client
    #expect(failure?.reason == .legacyCommonName)
    #expect(failure?.message.contains("certificate relies on legacy Common Name field, use SANs instead") == true)
  }

  /// RFC 5929 section 4.1: the hash of the certificate's signature, SHA-256 in place of weaker ones.
  @Test(
    arguments: [
      (["-newkey", "rsa:2048", "-sha384"], "sha384"), (["-newkey", "rsa:2048", "-sha512"], "sha512"),
      (["-newkey", "rsa:2048", "-sha1"], "sha256"),
      (["-newkey", "rsa:2048", "-sha384", "-sigopt", "rsa_padding_mode:pss"], "sha384"),
      (["-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048", "-sha256"], "sha256"),
      (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha512"], "sha512"), (["-newkey", "ed25519"], nil),
    ] as [([String], String?)])
  func endPointHashes(arguments: [String], digest: String?) throws {
    let made = try SelfSigned(arguments + ["-subj", "/CN=x"])
    let client = End(client: try ClientTLSContext(mode: .insecure), name: "x")
    try #require(shake(client, End(server: try made.server())).client == nil)
    #expect(try client.session.serverEndPointHash == digest.map { try made.fingerprint($0) })
  }

  @Test func systemRootsWithoutANameProveNothing() throws {
    let made = try SelfSigned("-newkey", "rsa:2048", "-subj", "/CN=x", "-addext", "subjectAltName=DNS:good.example.com")
    func isVerified(_ mode: ClientTLSContext.Mode, _ ca: String?, name: String = "good.example.com") throws -> Bool {
      let client = End(client: try ClientTLSContext(mode: mode, trustedCAPEM: ca), name: name)
      try #require(shake(client, End(server: try made.server())).client == nil)
      return client.session.isPeerVerified
    }
    #expect(try isVerified(.verifyFull, made.pem))
    #expect(try isVerified(.verifyCA, made.pem, name: "other.example.com"))
    #expect(try !isVerified(.insecure, nil))
    // What OpenSSL takes for the system's roots.
    let bundle = NSTemporaryDirectory() + "roots-\(UUID().uuidString).pem"
    try made.pem.write(toFile: bundle, atomically: true, encoding: .utf8)
    setenv("SSL_CERT_FILE", bundle, 1)
    defer {
      unsetenv("SSL_CERT_FILE")
      try? FileManager.default.removeItem(atPath: bundle)
    }
    #expect(try isVerified(.verifyFull, nil))
    #expect(try !isVerified(.verifyCA, nil))
  }

  /// PostgreSQL up to 17 knows P-256 alone and answers any other share with a HelloRetryRequest: a round trip more.
  @Test func aClientsKeyShareIsOneThatPostgreSQLKnows() throws {
    let client = End(client: try ClientTLSContext(mode: .insecure), name: "localhost")
    guard case .needsInput = client.session.handshake() else {
      Issue.record("no ClientHello")
      return
    }
    // Extension key_share (RFC 8446 section 4.2.8): its length, that of the list, the group, the length of the key, and an
    // uncompressed point.
    let share: [UInt8] = [0, 0x33, 0, 71, 0, 69, 0, 0x17, 0, 65, 4]
    let hello = client.box.bytes
    #expect(hello.indices.contains { hello[$0...].starts(with: share) })
  }

  @Test func garbageNeverTraps() throws {
    let authorities = try Authorities()
    var random = SeededGenerator(seed: 11)
    for _ in 0..<2_000 {
      let server = End(server: authorities.server, requiresALPN: true)
      var bytes = (0..<Int.random(in: 1...300, using: &random)).map { _ in
        UInt8.random(in: .min ... .max, using: &random)
      }
      if Bool.random(using: &random) { bytes.replaceSubrange(0..<1, with: [0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3]) }
      bytes.withUnsafeBytes { buffer in
        server.session.setInput(buffer)
        _ = server.session.handshake()
        server.session.clearInput()
      }
    }
  }

  @Test func badContextsAreRefused() throws {
    let authorities = try Authorities()
    let one = try authorities.host.issueHost(hostIdentity, names: ["a"], notAfter: Date() + 60)
    let other = try authorities.host.issueHost(hostIdentity, names: ["a"], notAfter: Date() + 60)
    #expect(throws: TLSConfigurationError.self) {
      try ServerTLSContext(
        certificateChainPEM: one.certificatePEM, privateKeyPEM: other.key.pem, clientCAPEMs: [],
        applicationProtocols: ["a"])
    }
    #expect(throws: TLSConfigurationError.self) { try ClientTLSContext(mode: .verifyFull, trustedCAPEM: "nothing") }
  }
}
