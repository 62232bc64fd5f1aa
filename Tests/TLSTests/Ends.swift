import CPlatform
import Foundation
import PKI
import Secrets
import Testing

@testable import TLS

/// One end of a connection in memory: ciphertext goes into a box.
final class End {
  final class Box {
    /// Room that was claimed and is written by now.
    private var room: UnsafeMutableRawBufferPointer?
    private var settled: [UInt8] = []

    var bytes: [UInt8] {
      get {
        settle()
        return settled
      }
      set {
        settle()
        settled = newValue
      }
    }

    func claim(_ count: Int) -> UnsafeMutableRawPointer? {
      settle()
      room = .allocate(byteCount: count, alignment: 1)
      return room?.baseAddress
    }

    private func settle() {
      guard let room else { return }
      settled += room
      room.deallocate()
      self.room = nil
    }

    deinit { room?.deallocate() }
  }
  let box = Box()
  private(set) var session: TLSSession!

  private func output(canClaim: Bool = true) -> TLSOutput {
    let claim: (@convention(c) (UnsafeMutableRawPointer?, Int) -> UnsafeMutableRawPointer?) = { context, count in
      context.flatMap { Unmanaged<Box>.fromOpaque($0).takeUnretainedValue().claim(count) }
    }
    return TLSOutput(
      context: Unmanaged.passUnretained(box).toOpaque(),
      append: { context, bytes, count in
        guard let context else { return }
        Unmanaged<Box>.fromOpaque(context).takeUnretainedValue().bytes += UnsafeRawBufferPointer(
          start: bytes, count: count)
      }, claim: canClaim ? claim : nil)
  }

  init(server: ServerTLSContext, requiresALPN: Bool = false) {
    session = TLSSession(server: server, output: output(), requiresALPN: requiresALPN)
  }
  init(
    client: ClientTLSContext, name: String, resuming earlier: ResumableSession? = nil, canClaim: Bool = true
  ) {
    session = TLSSession(client: client, serverName: name, output: output(canClaim: canClaim), resuming: earlier)
  }

  /// Lends what `other` has put out and reads until that is used up.
  func readAll(from other: End, piece: Int = .max) -> (bytes: [UInt8], end: TLSSession.ReadStep) {
    var plain: [UInt8] = []
    var end = TLSSession.ReadStep.needsInput
    let ciphertext = other.box.bytes
    other.box.bytes = []
    var start = 0
    repeat {
      let part = ciphertext[start..<min(ciphertext.count, start + min(piece, ciphertext.count))]
      start = part.endIndex
      let step = feed(Array(part))
      plain += step.bytes
      end = step.end
      guard case .needsInput = end else { break }
    } while start < ciphertext.count
    return (plain, end)
  }

  /// Lends `ciphertext` and reads until that is used up.
  func feed(_ ciphertext: [UInt8]) -> (bytes: [UInt8], end: TLSSession.ReadStep) {
    var plain: [UInt8] = []
    var scratch = [UInt8](repeating: 0, count: 20_000)
    return ciphertext.withUnsafeBytes { input in
      session.setInput(input)
      defer { session.clearInput() }
      while true {
        let step = scratch.withUnsafeMutableBytes { session.read(into: $0) }
        guard case .bytes(let count) = step else { return (plain, step) }
        plain += scratch[..<count]
      }
    }
  }

  func write(_ bytes: [UInt8], largest: Int = .max) -> TLSFailure? {
    bytes.withUnsafeBytes { session.write($0, largest: largest) }
  }
}

/// Moves ciphertext between both ends in pieces of `piece` bytes until both are done or one fails.
func shake(_ client: End, _ server: End, piece: Int = .max) -> (client: TLSFailure?, server: TLSFailure?) {
  var done: (Bool, Bool) = (false, false)
  func step(_ end: End, _ isDone: inout Bool, from other: End) -> TLSFailure? {
    let taken = Array(other.box.bytes.prefix(piece))
    other.box.bytes.removeFirst(taken.count)
    return taken.withUnsafeBytes { bytes in
      end.session.setInput(bytes)
      defer { end.session.clearInput() }
      guard !isDone else {
        var scratch = [UInt8](repeating: 0, count: 1)
        if case .failed(let failure) = scratch.withUnsafeMutableBytes({ end.session.read(into: $0) }) { return failure }
        return nil
      }
      switch end.session.handshake() {
      case .complete: isDone = true
      case .needsInput: break
      case .failed(let failure): return failure
      }
      return nil
    }
  }
  for _ in 0..<100_000 {
    if let failure = step(client, &done.0, from: server) { return (failure, step(server, &done.1, from: client)) }
    if let failure = step(server, &done.1, from: client) { return (step(client, &done.0, from: server), failure) }
    if done == (true, true), client.box.bytes.isEmpty, server.box.bytes.isEmpty { break }
  }
  return (nil, nil)
}

let hostIdentity = HostIdentity(hostID: "host-1", name: "one", services: [.proxy], clusterName: "test")

struct Authorities {
  let host: CertificateAuthority
  let user: CertificateAuthority
  let server: ServerTLSContext

  init(names: [String] = ["localhost", "127.0.0.1"]) throws {
    host = try .make(.host, clusterName: "test")
    user = try .make(.user, clusterName: "test")
    let certificate = try host.issueHost(hostIdentity, names: names, notAfter: Date() + 3600)
    server = try ServerTLSContext(
      certificateChainPEM: certificate.certificatePEM, privateKeyPEM: certificate.key.pem,
      clientCAPEMs: [try user.certificatePEM],
      applicationProtocols: ["postgresql", "http/1.1"])
  }

  func client(_ mode: ClientTLSContext.Mode = .verifyFull, certificate: (String, Secret)? = nil) throws
    -> ClientTLSContext
  {
    try ClientTLSContext(mode: mode, trustedCAPEM: try host.certificatePEM, clientCertificate: certificate)
  }

  func userCertificate(_ authority: CertificateAuthority? = nil, end: Date = Date() + 3600) throws -> (String, Secret) {
    let key = KeyPair.generate()
    let identity = UserIdentity(username: "alice", roles: [], clusterName: "test")
    let request = try key.signingRequestPEM(commonName: "alice")
    return (try (authority ?? user).issue(identity, signingRequestPEM: request, notAfter: end), key.pem)
  }
}
