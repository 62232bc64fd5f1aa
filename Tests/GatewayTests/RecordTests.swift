import PostgresWire
import Synchronization
import Testing

@testable import Gateway

/// How what is relayed is cut into TLS records.
struct RecordTests {
  private static func queries(_ count: Int) -> [[UInt8]] {
    (0..<count).map { [0x51, 0, 0, 0, 8, 0x3b, 0x30 + UInt8($0 % 10), 0x3b, 0] }
  }
  private static func answers(_ count: Int) -> [[UInt8]] {
    (0..<count).map { _ in [0x43, 0, 0, 0, 8, 0x58, 0x58, 0x58, 0, 0x5a, 0, 0, 0, 5, 0x49] }
  }

  @Test func whatArrivesTogetherLeavesInOneRecord() throws {
    let recordsAtDatabase = Mutex(0)
    let (queries, answers) = (Self.queries(50), Self.answers(50))
    let scene = try Scene { peer, context in
      try peer.acceptLogin(context)
      peer.send(Say.ready)
      let before = peer.recordsReceived
      var received: [UInt8] = []
      while received.count < queries.joined().count, let part = peer.receive() { received += part }
      guard received == Array(queries.joined()) else { return }
      recordsAtDatabase.withLock { $0 = peer.recordsReceived - before }
      peer.send(records: answers)
      _ = peer.receive()
    }
    var greeting: [UInt8] = []
    while !greeting.suffix(6).elementsEqual([0x5a, 0, 0, 0, 5, 0x49]), let part = scene.client.receive() {
      greeting += part
    }
    let before = scene.client.recordsReceived
    scene.client.send(records: queries)
    var received: [UInt8] = []
    while received.count < answers.joined().count, let part = scene.client.receive() { received += part }
    #expect(received == Array(answers.joined()))
    #expect(recordsAtDatabase.withLock { $0 } == 1)
    #expect(scene.client.recordsReceived - before == 1)
    scene.end()
  }
}
