import PostgresWire

@testable import Gateway

extension FuzzTarget {
  /// A client's bytes before anybody knows who it is: a byte that chooses the cuts, then the stream. Once it has asked for
  /// TLS, it goes on as behind a handshake.
  static let opening = FuzzTarget(name: "opening", maximumLength: 512) { bytes in
    var input = FuzzInput(bytes)
    let seed = input.byte()
    var cutter = ChunkCutter(input.rest, seed: seed)
    var opening = ClientOpening()
    // What has come since the last packet.
    var packet: [UInt8] = []
    var asked = (tls: 0, gss: 0)
    while let chunk = cutter.next() {
      let isFirst = packet.isEmpty
      packet += chunk
      switch opening.take(chunk) {
      case .wait:
        try require((try? StartupPacket.parse(packet)).flatMap { $0 } == nil, "a whole packet is waited for")
        continue
      case .directTLS:
        return try require(
          isFirst && packet[0] == 0x16 && asked.tls == 0 && !opening.isSecured, "TLS begins where it may not")
      case .acceptTLS:
        try require(packet == Encode.sslRequest() && !opening.isSecured, "what is no SSLRequest begins TLS")
        asked.tls += 1
        opening.isSecured = true
      case .declineGSS:
        try require(packet.count == 8 && packet[7] == 0x30, "what is no GSSENCRequest is answered as one")
        asked.gss += 1
      case .cancel(let processID, let secret):
        return try require(
          packet == Encode.cancelRequest(processID: processID, secret: secret), "another cancel request")
      case .login:
        return try require(opening.isSecured, "a login in the clear")
      case .refuse, .reject: return
      }
      try require(asked.tls <= 1 && asked.gss <= 1, "asked for the same thing again and answered")
      packet = []
    }
  }
}
