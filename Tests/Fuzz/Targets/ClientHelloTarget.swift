import Foundation
import PKI
import TLS

extension FuzzTarget {
  /// The bytes of a client's TLS handshake, up to where a real peer would be needed: a byte of settings (direct TLS or
  /// after an SSLRequest) and one that chooses the cuts, then the stream.
  static let clientHello = FuzzTarget(name: "client-hello", maximumLength: 1024) { bytes in
    var input = FuzzInput(bytes)
    let requiresALPN = input.byte() & 1 == 1
    let seed = input.byte()
    var cutter = ChunkCutter(input.rest, seed: seed)
    let output = TLSOutput(context: nil) { _, _, _ in }
    guard let session = TLSSession(server: ServerSide.context, output: output, requiresALPN: requiresALPN) else {
      throw FuzzFinding(description: "no TLS session can be made")
    }
    while let chunk = cutter.next() {
      session.setInput(chunk)
      let step = session.handshake()
      session.clearInput()
      switch step {
      case .needsInput: continue
      case .failed: return
      case .complete: throw FuzzFinding(description: "a handshake is complete without a peer that has keys")
      }
    }
  }
}

private enum ServerSide {
  static let context: ServerTLSContext = {
    do {
      let host = try CertificateAuthority.make(.host, clusterName: "fuzz")
      let user = try CertificateAuthority.make(.user, clusterName: "fuzz")
      let identity = HostIdentity(hostID: "host-1", name: "one", services: [.proxy], clusterName: "fuzz")
      let own = try host.issueHost(identity, names: ["localhost"], notAfter: Date() + 86_400)
      return try ServerTLSContext(
        certificateChainPEM: own.certificatePEM, privateKeyPEM: own.key.pem, clientCAPEMs: [try user.certificatePEM],
        applicationProtocols: ["postgresql", "http/1.1"])
    } catch {
      fatalError("no TLS context to fuzz with: \(error)")
    }
  }()
}
