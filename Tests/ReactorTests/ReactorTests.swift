import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Reactor

/// Sends back what it receives, and stops reading while the peer does not read.
private final class Echo: Channel {
  override func received(_ bytes: UnsafeRawBufferPointer) {
    send(bytes)
    guard queuedBytes > 256 * 1024 else { return }
    pauseReceiving()
    notifyWhenQueued(atMost: 64 * 1024)
  }
  override func drained() { resumeReceiving() }
  override func receivedEnd() { closeAfterSending() }
  override func failed(errno: Int32) { close() }
}

private final class EchoListener: Channel {
  override func accepted(descriptor: Int32) {
    let echo = Echo(reactor: reactor)
    guard (try? reactor.add(echo, descriptor: descriptor)) != nil else { return }
    echo.resumeReceiving()
  }
}

extension KernelInterface {
  /// Those this machine has.
  static let usable: [KernelInterface] = best().interface == .epoll ? [.epoll] : [.epoll, .ioUring]
}

private func withEchoServer(
  over interface: KernelInterface, _ body: (SocketAddress, ReactorThread) throws -> Void
) throws {
  let listener = try Sockets.listen(on: #require(SocketAddress(ip: "127.0.0.1", port: 0)))
  let address = try #require(Sockets.localAddress(listener))
  let thread = try ReactorThread.start(index: 0, over: interface) { reactor in
    let channel = EchoListener(reactor: reactor)
    try reactor.add(channel, descriptor: listener)
    reactor.accept(channel)
  }
  defer { thread.stop() }
  try body(address, thread)
}

private func connect(_ address: SocketAddress) throws -> Int32 {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  try #require(address.withSockAddr { Glibc.connect(descriptor, $0, $1) == 0 })
  return descriptor
}

@Suite(.serialized) struct ReactorTests {
  @Test(arguments: KernelInterface.usable)
  func echoesMegabytesUnchangedUnderBackpressure(over interface: KernelInterface) throws {
    try withEchoServer(over: interface) { address, _ in
      let descriptor = try connect(address)
      let total = 32 << 20
      var random = SeededGenerator(seed: 9)
      let data = (0..<total / 8).flatMap { _ in withUnsafeBytes(of: random.next(), Array.init) }
      Thread {
        var sent = 0
        while sent < total {
          sent += data.withUnsafeBytes {
            write(descriptor, $0.baseAddress.map { $0 + sent }, min(1 << 20, total - sent))
          }
        }
        shutdown(descriptor, Int32(SHUT_WR))
      }.start()
      var received: [UInt8] = []
      received.reserveCapacity(total)
      var buffer = [UInt8](repeating: 0, count: 1 << 16)
      while true {
        let count = read(descriptor, &buffer, buffer.count)
        guard count > 0 else { break }
        received += buffer[..<count]
      }
      close(descriptor)
      #expect(received == data)
    }
  }

  @Test(arguments: KernelInterface.usable)
  func thousandsOfConnectionsLeaveNoDescriptorBehind(over interface: KernelInterface) throws {
    try withEchoServer(over: interface) { address, thread in
      func descriptors() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }
      let before = try descriptors()
      for _ in 0..<2_000 {
        let descriptor = try connect(address)
        var byte: UInt8 = 1
        #expect(write(descriptor, &byte, 1) == 1)
        #expect(read(descriptor, &byte, 1) == 1)
        close(descriptor)
      }
      for _ in 0..<100 where channels(thread) > 1 { usleep(10_000) }
      #expect(channels(thread) == 1)
      // Other suites open some at the same time; a leak here would be of thousands.
      #expect(try descriptors() < before + 200)
    }
  }

  private func channels(_ thread: ReactorThread) -> Int {
    let answer = DispatchSemaphore(value: 0)
    let count = Mutex(0)
    thread.mailbox.post { reactor in
      count.withLock { $0 = reactor.channelCount }
      answer.signal()
    }
    answer.wait()
    return count.withLock { $0 }
  }

  @Test(arguments: KernelInterface.usable)
  func postsOfManyThreadsAllArriveInOrder(over interface: KernelInterface) throws {
    try withEchoServer(over: interface) { _, thread in
      let seen = Mutex<[Int: [Int]]>([:])
      let done = DispatchSemaphore(value: 0)
      DispatchQueue.concurrentPerform(iterations: 4) { sender in
        for number in 0..<25_000 {
          while !thread.mailbox.post({ _ in seen.withLock { $0[sender, default: []].append(number) } }) { usleep(100) }
        }
        thread.mailbox.post { _ in done.signal() }
      }
      for _ in 0..<4 { done.wait() }
      seen.withLock { seen in for sender in 0..<4 { #expect(seen[sender] == Array(0..<25_000)) } }
    }
  }

  /// A connection that comes after a long quiet must not start its deadlines in the past.
  @Test(arguments: KernelInterface.usable)
  func theClockIsReadBeforeWhatTheWaitBroughtIsDelivered(over interface: KernelInterface) throws {
    final class Clock: Channel {
      let seen: @Sendable (UInt64) -> Void
      init(reactor: Reactor, seen: @escaping @Sendable (UInt64) -> Void) {
        self.seen = seen
        super.init(reactor: reactor)
      }
      override func accepted(descriptor: Int32) {
        seen(reactor.now)
        Glibc.close(descriptor)
      }
    }
    let listener = try Sockets.listen(on: #require(SocketAddress(ip: "127.0.0.1", port: 0)))
    let address = try #require(Sockets.localAddress(listener))
    let times = Mutex<[UInt64]>([])
    let done = DispatchSemaphore(value: 0)
    let thread = try ReactorThread.start(index: 0, over: interface) { reactor in
      let channel = Clock(reactor: reactor) { time in
        times.withLock { $0.append(time) }
        done.signal()
      }
      try reactor.add(channel, descriptor: listener)
      reactor.accept(channel)
    }
    defer { thread.stop() }
    usleep(300_000)
    let before = try EpollBackend().now
    let descriptor = try connect(address)
    done.wait()
    close(descriptor)
    times.withLock { #expect($0.allSatisfy { $0 >= before }) }
  }

  @Test(arguments: KernelInterface.usable)
  func stopsThoughItsMailboxIsFull(over interface: KernelInterface) throws {
    let thread = try ReactorThread.start(index: 0, over: interface) { _ in }
    let (isBusy, goOn, hasStopped) = (
      DispatchSemaphore(value: 0), DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)
    )
    thread.mailbox.post { _ in
      isBusy.signal()
      goOn.wait()
    }
    isBusy.wait()
    while thread.mailbox.post({ _ in }) {}
    Thread {
      thread.stop()
      hasStopped.signal()
    }.start()
    // The stop is asked for while there is no room; nothing tells when it has been.
    usleep(100_000)
    goOn.signal()
    #expect(hasStopped.wait(timeout: .now() + 10) == .success)
  }

  @Test func fullMailboxRefuses() throws {
    let mailbox = Mailbox(waker: try Waker(), capacity: 2)
    #expect(mailbox.post { _ in })
    #expect(mailbox.post { _ in })
    #expect(!mailbox.post { _ in })
    #expect(mailbox.post(evenIfFull: true) { _ in })
  }

  @Test(arguments: KernelInterface.usable)
  func anEndedReactorHoldsNothing(over interface: KernelInterface) throws {
    /// As those of the gateway do, by way of their worker.
    final class Holding: Channel {
      private let held: Reactor
      override init(reactor: Reactor) {
        held = reactor
        super.init(reactor: reactor)
      }
    }
    /// Into jobs; all of this runs on one thread.
    struct Carrier: @unchecked Sendable {
      let reactor: Reactor
      let channel: Channel
    }

    weak var ended: Reactor?
    let ran = Mutex<[String]>([])
    try {
      let reactor = try Reactor(index: 0, over: interface)
      ended = reactor
      let carrier = Carrier(reactor: reactor, channel: Holding(reactor: reactor))
      // The kernel is busy with the channel as it closes: it waits for bytes that do not come.
      var pair: [Int32] = [-1, -1]
      try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
      defer { Glibc.close(pair[1]) }
      try reactor.add(carrier.channel, descriptor: pair[0])
      carrier.channel.resumeReceiving()
      reactor.turn(atMost: 1)
      let mailbox = reactor.mailbox
      let isPosted = mailbox.post { [carrier] reactor in
        ran.withLock { $0.append("last job, channel closed: \(carrier.channel.isClosed)") }
        let isPosted = reactor.mailbox.post(evenIfFull: true) { _ in _ = carrier }
        #expect(!isPosted)
      }
      #expect(isPosted)
      reactor.closeAll()
      #expect(ran.withLock { $0 } == ["last job, channel closed: true"])
      #expect(!mailbox.post { _ in _ = carrier })
      #expect(!mailbox.post(evenIfFull: true) { _ in _ = carrier })
    }()
    #expect(ended == nil)
  }

  @Test func staleHandlesNameNothing() throws {
    let reactor = try Reactor(index: 0)
    var handles: [Handle] = []
    for _ in 0..<100 {
      let channel = Channel(reactor: reactor)
      try reactor.add(channel, descriptor: Sockets.open(AF_INET))
      #expect(reactor.channel(channel.handle) === channel)
      handles.append(channel.handle)
      channel.close()
    }
    #expect(handles.allSatisfy { reactor.channel($0) == nil })
    #expect(Set(handles).count == 100)
  }

  @Test func addresses() throws {
    #expect(try #require(SocketAddress(ip: "127.0.0.1", port: 5432)).description == "127.0.0.1:5432")
    #expect(try #require(SocketAddress(ip: "::1", port: 1)).description == "[::1]:1")
    #expect(try #require(SocketAddress(ip: "::ffff:10.0.0.1", port: 1)).host == "10.0.0.1")
    #expect(SocketAddress(ip: "localhost", port: 1) == nil)
    #expect(SocketAddress(unixPath: String(repeating: "x", count: 200)) == nil)
    #expect(SocketAddress(unixPath: "a\0b") == nil)
  }
}
