import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Reactor

/// Sends back what it receives, and at random pauses, resumes and closes, with sends in flight and without.
private final class Moody: Channel {
  final class Random { var generator = SeededGenerator(seed: 77) }
  private let random: Random

  init(reactor: Reactor, random: Random) {
    self.random = random
    super.init(reactor: reactor)
  }

  override func received(_ bytes: UnsafeRawBufferPointer) {
    send(bytes)
    switch Int.random(in: 0..<200, using: &random.generator) {
    case 0: close()
    case 1: closeAfterSending(within: 50)
    case 2...20:
      pauseReceiving()
      _ = reactor.startTimer(for: self, tag: 1, after: UInt64.random(in: 0...20, using: &random.generator))
    case 21...40:
      pauseReceiving()
      resumeReceiving()
    default:
      guard queuedBytes > 128 * 1024 else { return }
      pauseReceiving()
      notifyWhenQueued(atMost: 32 * 1024)
    }
  }
  override func timerFired(tag: UInt8) { resumeReceiving() }
  override func drained() { resumeReceiving() }
  override func receivedEnd() { closeAfterSending() }
  override func failed(errno: Int32) { close() }
}

private final class MoodyListener: Channel {
  private let random = Moody.Random()

  override func accepted(descriptor: Int32) {
    let channel = Moody(reactor: reactor, random: random)
    guard (try? reactor.add(channel, descriptor: descriptor)) != nil else { return }
    channel.resumeReceiving()
  }
}

/// Clients that come, write, read little, hang up or reset at random: whatever comes back must be what was sent.
struct StressTests {
  @Test(arguments: KernelInterface.usable)
  func nothingIsMixedUpWhenConnectionsComeAndGo(over interface: KernelInterface) throws {
    let listener = try Sockets.listen(on: #require(SocketAddress(ip: "127.0.0.1", port: 0)))
    let address = try #require(Sockets.localAddress(listener))
    let thread = try ReactorThread.start(index: 0, over: interface) { reactor in
      let channel = MoodyListener(reactor: reactor)
      try reactor.add(channel, descriptor: listener)
      reactor.accept(channel)
    }
    let wrong = Atomic(0)
    let echoed = Atomic(0)
    DispatchQueue.concurrentPerform(iterations: 8) { client in
      var random = SeededGenerator(seed: UInt64(client) + 1)
      for number in 0..<60 {
        let result = visit(address, seed: UInt64(client * 1_000 + number), &random)
        if !result.isPrefix { wrong.add(1, ordering: .relaxed) }
        echoed.add(result.echoed, ordering: .relaxed)
      }
    }
    thread.stop()
    #expect(wrong.load(ordering: .relaxed) == 0)
    #expect(echoed.load(ordering: .relaxed) > 1 << 20)
  }

  /// One connection with bytes of its own; a stream swapped with another's or sent from a reused buffer would show.
  private func visit(
    _ address: SocketAddress, seed: UInt64, _ random: inout SeededGenerator
  ) -> (isPrefix: Bool, echoed: Int) {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var small: Int32 = 4096
    if Bool.random(using: &random) {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &small, socklen_t(MemoryLayout<Int32>.size))
    }
    guard address.withSockAddr({ Glibc.connect(descriptor, $0, $1) }) == 0 else { return (true, 0) }
    var (writing, reading) = (SeededGenerator(seed: seed), SeededGenerator(seed: seed))
    var (written, read) = (0, 0)
    var isPrefix = true
    var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    for _ in 0..<Int.random(in: 1...60, using: &random) {
      let words = (0..<Int.random(in: 1...4_000, using: &random)).map { _ in writing.next() }
      let count = words.withUnsafeBytes {
        send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
      }
      // A short write would take the two generators apart: what follows of this visit is only to hang up.
      guard count == words.count * 8 else { break }
      written += count
      guard Bool.random(using: &random) else { continue }
      var due = Int.random(in: 0...(written - read) / 8, using: &random) * 8
      while due > 0 {
        let part = min(due, buffer.count)
        guard recv(descriptor, &buffer, part, Int32(MSG_WAITALL)) == part else { return (isPrefix, read) }
        for offset in stride(from: 0, to: part, by: 8) {
          let word = buffer.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
          if word != reading.next() { isPrefix = false }
        }
        read += part
        due -= part
      }
    }
    if Int.random(in: 0..<3, using: &random) == 0 {
      var reset = linger(l_onoff: 1, l_linger: 0)
      setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &reset, socklen_t(MemoryLayout<linger>.size))
    }
    return (isPrefix, read)
  }
}
