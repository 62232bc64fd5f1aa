@testable import TunnelWire

extension FuzzTarget {
  /// What agents and proxies tell each other: a byte that chooses the cuts, then the stream.
  static let tunnel = FuzzTarget(name: "tunnel", maximumLength: 512) { bytes in
    var input = FuzzInput(bytes)
    let seed = input.byte()
    let stream = Array(input.rest)
    var cutter = ChunkCutter(input.rest, seed: seed)
    var reader = TunnelReader()
    var end = 0
    while let chunk = cutter.next() {
      reader.append(chunk)
      do {
        while let message = try reader.next() {
          let encoded = message.encoded()
          try require(stream[end...].starts(with: encoded), "a message reads as another: \(message)")
          end += encoded.count
        }
      } catch let finding as FuzzFinding {
        throw finding
      } catch {
        return try requireViolation(stream[end...])
      }
    }
    try require(reader.takeRest().elementsEqual(stream[end...]), "the reader's rest is another")
    try requireIncomplete(stream[end...])
  }
}

private func declared(_ stream: ArraySlice<UInt8>) -> Int? {
  stream.count < 4 ? nil : stream.prefix(4).reduce(0) { $0 << 8 | Int($1) }
}

private func requireIncomplete(_ stream: ArraySlice<UInt8>) throws {
  guard let length = declared(stream) else { return }
  try require((1...TunnelMessage.maximumLength).contains(length), "a length of \(length) is waited for")
  try require(stream.count - 4 < length, "a whole message is not read")
}

private func requireViolation(_ stream: ArraySlice<UInt8>) throws {
  guard let length = declared(stream) else { throw FuzzFinding(description: "refused before a length was there") }
  guard (1...TunnelMessage.maximumLength).contains(length) else { return }
  try require(stream.count - 4 >= length, "refused before the whole message was there")
  let body = Array(stream.dropFirst(4).prefix(length))
  try require(body.withUnsafeBytes { TunnelMessage($0) } == nil, "a right message is refused")
}
