import Crypto
import Foundation
import Secrets

@testable import PostgresWire

extension FuzzTarget {
  /// A client's first packet.
  static let startup = FuzzTarget(name: "startup", maximumLength: 512) { bytes in
    guard let (request, consumed) = try? StartupPacket.parse(bytes) else {
      // What is not a packet yet, or never, is so at any earlier point as well.
      let half = UnsafeRawBufferPointer(rebasing: bytes.prefix(bytes.count / 2))
      if let early = try? StartupPacket.parse(half) {
        throw FuzzFinding(description: "\(early.consumed) bytes of what is no packet are one")
      }
      return
    }
    try require((8...bytes.count).contains(consumed), "consumed \(consumed) of \(bytes.count) bytes")
    let short = UnsafeRawBufferPointer(rebasing: bytes.prefix(consumed - 1))
    try require((try? StartupPacket.parse(short)).flatMap { $0 } == nil, "a packet that lacks a byte is taken")
    switch request {
    case .ssl, .gssEncryption: try require(consumed == 8, "an encryption request of \(consumed) bytes")
    case .cancel(let processID, let secret):
      let again = Encode.cancelRequest(processID: processID, secret: secret)
      try require(again.elementsEqual(bytes.prefix(consumed)), "a cancel request reads as another")
    case .startup(let parameters): try compareRelayed(parameters)
    }
  }

  /// A database's side of a login: a byte of settings, one that chooses the cuts, then the stream.
  static let login = FuzzTarget(name: "login", maximumLength: 512) { bytes in
    var input = FuzzInput(bytes)
    let settings = input.byte()
    let seed = input.byte()
    let stream = Array(input.rest)
    let model = StreamModel(stream, limits: { _ in 4...65_539 })
    var cutter = ChunkCutter(input.rest, seed: seed)
    var reader = BackendMessageReader()
    var read: [StreamModel.Message] = []
    var isBroken = false
    while let chunk = cutter.next(), !isBroken {
      do throws(WireError) {
        try reader.append(chunk)
        while let message = try reader.next() { read.append(.init(type: message.type, body: message.body)) }
      } catch {
        isBroken = true
      }
    }
    try require(read == model.messages, "the reader finds \(read.count) messages, the model \(model.messages.count)")
    try require(isBroken == (model.violation != nil), "the reader and the model disagree about a violation")
    if !isBroken { try require(reader.takeRest().elementsEqual(stream[model.end...]), "the reader's rest is another") }
    try authenticate(read, settings)
  }
}

private func compareRelayed(_ parameters: StartupParameters) throws {
  guard let packet = try? parameters.relayed(user: "u", database: "d") else { return }
  guard case .startup(let again) = try StartupPacket.parse(packet)?.request else {
    throw FuzzFinding(description: "a relayed packet is no startup packet")
  }
  try require(
    again.user == "u" && again.database == "d" && !again.wantsReplication && again.negotiation == nil,
    "a relayed packet asks for \(again.user), \(again.database), replication: \(again.wantsReplication)")
  try require(again.applicationName == parameters.applicationName, "the application's name got lost")
  try require(try again.relayed(user: "u", database: "d") == packet, "what was relayed is relayed differently")
}

/// The conversation's fixed half: a database that knows these keys can be let in, no other.
private enum Login {
  static let password = "correct-horse-battery"
  static let secret = Secret(utf8: password)
  static let nonce = Array("fuzzfuzzfuzzfuzzfuzzfuzz".utf8)
  static let endPoint = [UInt8](repeating: 0xab, count: 32)
  static let serverKey = [UInt8](repeating: 2, count: 32)
  static let keys = ScramKeys(clientKey: Secret([UInt8](repeating: 1, count: 32)), serverKey: Secret(serverKey))
}

private func authenticate(_ messages: [StreamModel.Message], _ settings: UInt8) throws {
  let hasPassword = settings & 1 != 0
  let isVerified = settings & 4 != 0
  var authentication = ServerAuthentication(
    user: "user", password: hasPassword ? Login.secret : nil,
    tlsServerEndPoint: settings & 2 != 0 ? Login.endPoint : nil,
    isTLSVerified: isVerified, nonce: Login.nonce)
  var collector: LoginCollector?
  var transcript: [[UInt8]] = []
  var challenge: [UInt8] = []
  var signature: [UInt8]?
  for message in messages {
    if collector != nil {
      guard let isReady = try? collector?.handle(type: message.type, body: message.body) else { return }
      if isReady { return try require(collector?.greeting.transactionStatus == message.body.first, "another status") }
      continue
    }
    guard var step = try? authentication.handle(type: message.type, body: message.body) else { return }
    let request = message.type == UInt8(ascii: "R") ? message.body.prefix(4).last : nil
    if case .derive(let derivation) = step {
      challenge = Array(message.body.dropFirst(4))
      try require((4096...1_000_000).contains(derivation.iterations), "\(derivation.iterations) rounds are accepted")
      guard let next = try? authentication.resume(with: Login.keys) else { return }
      step = next
    } else if request == 12, case .wait = step {
      signature = Array(message.body.dropFirst(4))
    }
    switch step {
    case .send(let answer):
      transcript.append(answer)
      let isClear =
        answer.count >= Login.password.utf8.count && String(decoding: answer, as: UTF8.self).contains(Login.password)
      try require(!isClear || isVerified, "the password went to a database that TLS does not prove")
    case .authenticated:
      collector = LoginCollector()
      try checkProof(transcript, challenge, signature)
    case .wait, .derive: break
    }
  }
}

/// Once SCRAM has begun, only a database with the server's key gets further.
private func checkProof(_ transcript: [[UInt8]], _ challenge: [UInt8], _ signature: [UInt8]?) throws {
  let bodies = transcript.map { String(decoding: $0.dropFirst(5), as: UTF8.self) }
  guard let first = bodies.first(where: { $0.hasPrefix("SCRAM-SHA-256") }) else { return }
  guard let bare = first.range(of: "n=,r="), let final = bodies.last, let proof = final.range(of: ",p="),
    let signature
  else { throw FuzzFinding(description: "let in without the end of the SCRAM exchange") }
  let text =
    first[bare.lowerBound...] + "," + String(decoding: challenge, as: UTF8.self) + ","
    + final[..<proof.lowerBound]
  let code = HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: SymmetricKey(data: Login.serverKey))
  let expected = Array("v=".utf8) + Base64.encode(Array(code))
  try require(signature.starts(with: expected), "let in with a wrong SCRAM signature")
}
