import PostgresWire
import TestSupport
import Testing

struct MessageWalkerTests {
  @Test func findsTheSameMessagesHoweverTheStreamIsCut() {
    var random = SeededGenerator(seed: 4)
    for _ in 0..<5_000 {
      var stream: [UInt8] = []
      var sent: [[UInt8]] = []
      for _ in 0..<Int.random(in: 1...5, using: &random) {
        let body = (0..<Int.random(in: 0...20, using: &random)).map { _ in
          UInt8.random(in: .min ... .max, using: &random)
        }
        sent.append([UInt8(ascii: "Q")] + body)
        stream += [UInt8(ascii: "Q"), 0, 0, 0, UInt8(body.count + 4)] + body
      }
      var walker = MessageWalker()
      var found: [[UInt8]] = []
      var message: [UInt8] = []
      var rest = stream[...]
      while !rest.isEmpty {
        let chunk = Array(rest.prefix(Int.random(in: 1...9, using: &random)))
        rest = rest.dropFirst(chunk.count)
        chunk.withUnsafeBytes { chunk in
          var position = 0
          while let part = walker.next(chunk, &position) {
            if part.isFirst { message = [part.type] }
            message += part.bytes
            #expect(message.count - 1 <= Int(part.bodyLength))
            if part.isLast {
              #expect(message.count - 1 == Int(part.bodyLength))
              found.append(message)
            }
          }
          #expect(position == chunk.count)
        }
      }
      #expect(found == sent)
    }
  }
}
