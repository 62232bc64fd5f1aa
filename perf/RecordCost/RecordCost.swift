// What one TLS record costs, and one idle session: run by perf/record-cost.sh, which counts from outside.
//   RecordCost records own|openssl FOLDER SIZE COUNT   a record each way, COUNT times
//   RecordCost memory own|openssl FOLDER COUNT         memory of COUNT pairs of sessions, after one record each way
// FOLDER holds cert.pem and key.pem of a server named localhost.
import Glibc
import Secrets
import TLS

/// Ciphertext on its way to the other end.
final class Wire {
  private let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 64)
  private var count = 0

  var output: TLSOutput {
    TLSOutput(
      context: Unmanaged.passUnretained(self).toOpaque(),
      append: { context, bytes, count in
        guard let context, let room = Unmanaged<Wire>.fromOpaque(context).takeUnretainedValue().claim(count) else {
          return
        }
        if let bytes { room.copyMemory(from: bytes, byteCount: count) }
      },
      claim: { context, count in context.flatMap { Unmanaged<Wire>.fromOpaque($0).takeUnretainedValue().claim(count) } }
    )
  }

  private func claim(_ bytes: Int) -> UnsafeMutableRawPointer? {
    guard bytes <= room.count - count else { return nil }
    defer { count += bytes }
    return room.baseAddress.map { $0 + count }
  }

  /// What has come, which is then forgotten.
  func take() -> UnsafeRawBufferPointer {
    defer { count = 0 }
    return UnsafeRawBufferPointer(rebasing: room[..<count])
  }
}

struct Failure: Error { let what: String }

struct Pair {
  let client: TLSSession
  let server: TLSSession

  init(_ contexts: (client: ClientTLSContext, server: ServerTLSContext), over wires: (up: Wire, down: Wire)) throws {
    guard let client = TLSSession(client: contexts.client, serverName: "localhost", output: wires.up.output),
      let server = TLSSession(server: contexts.server, output: wires.down.output, requiresALPN: false)
    else { throw Failure(what: "no session") }
    (self.client, self.server) = (client, server)
    for _ in 0..<4 {
      client.setInput(wires.down.take())
      if case .failed(let failure) = client.handshake() { throw failure }
      server.setInput(wires.up.take())
      if case .failed(let failure) = server.handshake() { throw failure }
    }
  }
}

func exchange(
  _ bytes: UnsafeRawBufferPointer, from: TLSSession, over wire: Wire, to: TLSSession,
  _ room: UnsafeMutableRawBufferPointer
) throws {
  if let failure = from.write(bytes) { throw failure }
  to.setInput(wire.take())
  var count = 0
  while count < bytes.count {
    guard case .bytes(let part) = to.read(into: room) else { throw Failure(what: "no record") }
    count += part
  }
  to.clearInput()
}

func file(_ path: String) throws -> String {
  guard let stream = fopen(path, "r") else { throw Failure(what: "cannot read \(path)") }
  defer { fclose(stream) }
  var bytes = [UInt8](repeating: 0, count: 1 << 16)
  let count = fread(&bytes, 1, bytes.count, stream)
  return String(decoding: bytes.prefix(count), as: UTF8.self)
}

/// Memory of this process, by proc(5)'s statm.
func residentBytes() throws -> Int {
  let fields = try file("/proc/self/statm").split(separator: " ")
  guard fields.count > 1, let pages = Int(fields[1]) else { throw Failure(what: "statm") }
  return pages * Int(getpagesize())
}

/// The two ends that take turns, and what they share.
struct Stage {
  let isOwn: Bool
  let contexts: (client: ClientTLSContext, server: ServerTLSContext)
  let wires = (up: Wire(), down: Wire())
  let blocks = BlockPool()
  let room = UnsafeMutableRawBufferPointer.allocate(byteCount: TLSSession.roomToRead, alignment: 64)

  init(isOwn: Bool, folder: String) throws {
    self.isOwn = isOwn
    let certificate = try file(folder + "/cert.pem")
    contexts = (
      client: try ClientTLSContext(mode: .verifyFull, trustedCAPEM: certificate),
      server: try ServerTLSContext(
        certificateChainPEM: certificate, privateKeyPEM: Secret(utf8: try file(folder + "/key.pem")),
        clientCAPEMs: [certificate], applicationProtocols: ["postgresql"])
    )
  }

  func makePair() throws -> Pair {
    let pair = try Pair(contexts, over: wires)
    let byte: [UInt8] = [1]
    try byte.withUnsafeBytes { byte in
      try exchange(byte, from: pair.server, over: wires.down, to: pair.client, room)
      if isOwn, !pair.client.takeRecordsOver(blocks: blocks) || !pair.server.takeRecordsOver(blocks: blocks) {
        throw Failure(what: "the records stay with OpenSSL")
      }
      try exchange(byte, from: pair.client, over: wires.up, to: pair.server, room)
    }
    return pair
  }

  func records(size: Int, count: Int) throws {
    let pair = try makePair()
    let data = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
    data.initializeMemory(as: UInt8.self, repeating: 7)
    for _ in 0..<count {
      try exchange(UnsafeRawBufferPointer(data), from: pair.client, over: wires.up, to: pair.server, room)
      try exchange(UnsafeRawBufferPointer(data), from: pair.server, over: wires.down, to: pair.client, room)
    }
  }

  func memory(count: Int) throws {
    // The first few pairs bring up what is shared.
    var pairs = try (0..<20).map { _ in try makePair() }
    pairs.reserveCapacity(20 + count)
    let before = try residentBytes()
    for _ in 0..<count { pairs.append(try makePair()) }
    let grown = try residentBytes() - before
    print("\(grown / count) bytes a pair of sessions")
  }
}

@main enum RecordCost {
  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count >= 5, let count = arguments.last.flatMap({ Int($0) }) else {
      throw Failure(what: "usage: RecordCost records|memory own|openssl FOLDER [SIZE] COUNT")
    }
    let stage = try Stage(isOwn: arguments[2] == "own", folder: arguments[3])
    if arguments[1] == "memory" { return try stage.memory(count: count) }
    guard arguments.count == 6, let size = Int(arguments[4]) else { throw Failure(what: "no SIZE") }
    try stage.records(size: size, count: count)
  }
}
