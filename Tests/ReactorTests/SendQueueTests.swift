import TestSupport
import Testing

@testable import Reactor

struct SendQueueTests {
  /// Appends and claims at random, and takes the front away in pieces: what goes in comes out.
  @Test func whatGoesInComesOutInOrder() {
    var random = SeededGenerator(seed: 8)
    let pool = ChunkPool(keep: 2)
    var queue = SendQueue(pool: pool)
    var expected: [UInt8] = []
    var taken: [UInt8] = []
    for _ in 0..<3_000 {
      let size = Int.random(in: 0...(Bool.random(using: &random) ? 200 : 70_000), using: &random)
      let bytes = [UInt8](repeating: UInt8.random(in: .min ... .max, using: &random), count: size)
      expected += bytes
      if Bool.random(using: &random) {
        bytes.withUnsafeBytes { queue.append($0) }
      } else {
        let room = queue.claim(size)
        bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(start: room, count: size).copyMemory(from: $0) }
      }
      #expect(queue.count == expected.count - taken.count)
      while queue.count > 100_000 || (queue.count > 0 && Bool.random(using: &random)) {
        let front = queue.front
        let part = Int.random(in: 1...front.count, using: &random)
        taken += front[..<part]
        queue.consume(part)
      }
    }
    while queue.count > 0 {
      taken += queue.front
      queue.consume(queue.front.count)
    }
    #expect(taken == expected)
    #expect(queue.front.isEmpty)
  }

  @Test func theLargestClaimIsInOnePiece() {
    var queue = SendQueue(pool: ChunkPool())
    [1, 2, 3].withUnsafeBytes { queue.append($0) }
    queue.claim(ChunkPool.capacity).initializeMemory(as: UInt8.self, repeating: 9, count: ChunkPool.capacity)
    let first = queue.front.count
    queue.consume(first)
    #expect(queue.front.count == ChunkPool.capacity && queue.front.allSatisfy { $0 == 9 })
  }
}
