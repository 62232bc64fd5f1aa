import Foundation
import Glibc
import Simulation
import TestSupport
import Testing

@testable import Reactor

/// What a back end delivered, with borrowed bytes copied out.
private enum Seen: Equatable {
  case accepted, acceptFailed
  case connected(Int32)
  case received([UInt8])
  case end, failed
  case sent(Int)

  init(_ completion: Completion) {
    switch completion {
    case .accepted: self = .accepted
    case .acceptFailed: self = .acceptFailed
    case .connected(let errno): self = .connected(errno)
    case .received(let bytes): self = .received(Array(bytes))
    case .receivedEnd: self = .end
    case .failed: self = .failed
    case .sent(let count): self = .sent(count)
    }
  }
}

extension CompletionBackend {
  fileprivate func close(_ handle: Handle) { close(handle, keeping: nil) }
  fileprivate func poll(timeoutMilliseconds: Int32, deliver: (Handle, Completion) -> Void) {
    poll(timeoutMilliseconds: timeoutMilliseconds, awoke: {}, deliver: deliver)
  }
}

/// The five rules of `CompletionBackend`, for any back end. A new one joins by one more `@Test` that calls `all`.
private struct Contract<Backend: CompletionBackend, Kernel: ContractKernel> {
  let kernel: Kernel
  let make: (Kernel) throws -> Backend
  private let a = Handle(index: 3, generation: 1)

  func all() throws {
    try receiveIsMultishotUntilPaused()
    try submittingDeliversNothing()
    try endAndFailure()
    try sendsAreShortWhenTheSocketIsFull()
    try closedHandlesHearNothing()
    try listenersAcceptMany()
    try connectTellsRefusal()
    try wakeEndsPoll()
    try whatArrivesAroundAPauseIsKeptInOrder()
    try theEndOfAPausedStreamIsToldLater()
    try buffersOfClosedSendsAreKept()
    try theLastTurnLetsGoOfDescriptors()
  }

  private func poll(_ backend: Backend, turns: Int = 3, timeout: Int32 = 20) -> [Seen] {
    var seen: [Seen] = []
    for _ in 0..<turns { backend.poll(timeoutMilliseconds: timeout) { seen.append(Seen($1)) } }
    return seen
  }

  private func receiveIsMultishotUntilPaused() throws {
    let backend = try make(kernel)
    let (mine, theirs) = try kernel.pair()
    defer { theirs.close() }
    try backend.register(mine, as: a)
    backend.receive(a)
    for text in ["one", "two"] {
      #expect(theirs.write(Array(text.utf8)) == 3)
      #expect(poll(backend) == [.received(Array(text.utf8))])
    }
    backend.pause(a)
    #expect(theirs.write(Array("three".utf8)) == 5)
    #expect(poll(backend) == [])
    backend.receive(a)
    #expect(poll(backend) == [.received(Array("three".utf8))])
    backend.close(a)
  }

  private func submittingDeliversNothing() throws {
    let backend = try make(kernel)
    let (mine, theirs) = try kernel.pair()
    defer { theirs.close() }
    try backend.register(mine, as: a)
    let bytes = Array("hello".utf8)
    bytes.withUnsafeBytes { buffer in
      backend.send(a, buffer)
      #expect(theirs.read(8) == nil)
      #expect(poll(backend) == [.sent(5)])
      #expect(theirs.read(8) == bytes)
    }
    backend.close(a)
  }

  private func endAndFailure() throws {
    let backend = try make(kernel)
    let (mine, theirs) = try kernel.pair()
    try backend.register(mine, as: a)
    backend.receive(a)
    #expect(theirs.write(Array("last".utf8)) == 4)
    theirs.close()
    #expect(poll(backend) == [.received(Array("last".utf8)), .end])
    let bytes: [UInt8] = [1]
    bytes.withUnsafeBytes { buffer in
      backend.send(a, buffer)
      #expect(poll(backend) == [.failed])
    }
    backend.close(a)
  }

  private func sendsAreShortWhenTheSocketIsFull() throws {
    let backend = try make(kernel)
    let (mine, theirs) = try kernel.pair()
    defer { theirs.close() }
    try backend.register(mine, as: a)
    let total = 4 << 20
    let bytes = [UInt8](repeating: 7, count: total)
    var (sent, read, turns) = (0, 0, 0)
    var isSending = true
    bytes.withUnsafeBytes { buffer in
      backend.send(a, buffer)
      while read < total, turns < 100_000 {
        turns += 1
        backend.poll(timeoutMilliseconds: 0) { _, completion in
          guard case .sent(let count) = completion else { return }
          sent += count
          isSending = false
        }
        if sent < total, !isSending {
          isSending = true
          backend.send(a, UnsafeRawBufferPointer(rebasing: buffer[sent...]))
        }
        read += theirs.read(1 << 20)?.count ?? 0
      }
    }
    #expect(sent == total)
    #expect(read == total)
    backend.close(a)
  }

  private func closedHandlesHearNothing() throws {
    let backend = try make(kernel)
    let (mine, theirs) = try kernel.pair()
    let (other, otherTheirs) = try kernel.pair()
    defer {
      theirs.close()
      otherTheirs.close()
    }
    let b = Handle(index: 4, generation: 1)
    try backend.register(mine, as: a)
    try backend.register(other, as: b)
    backend.receive(a)
    backend.receive(b)
    #expect(theirs.write(Array("x".utf8)) == 1)
    #expect(otherTheirs.write(Array("x".utf8)) == 1)
    // Both are ready in one batch; whoever is served first closes both.
    var deliveries = 0
    backend.poll(timeoutMilliseconds: 100) { _, _ in
      deliveries += 1
      backend.close(a)
      backend.close(b)
    }
    #expect(deliveries == 1)
    // The slot lives on under another generation: nothing of the past reaches it.
    let (fresh, freshTheirs) = try kernel.pair()
    defer { freshTheirs.close() }
    try backend.register(fresh, as: Handle(index: 3, generation: 2))
    backend.receive(a)
    #expect(poll(backend) == [])
    backend.close(Handle(index: 3, generation: 2))
  }

  private func listenersAcceptMany() throws {
    let backend = try make(kernel)
    let (listener, address) = try kernel.listen()
    try backend.register(listener, as: a)
    backend.accept(a)
    let clients = try (0..<200).map { _ in try kernel.connect(to: address) }
    var accepted = 0
    for _ in 0..<50 where accepted < 200 {
      backend.poll(timeoutMilliseconds: 20) { _, completion in
        guard case .accepted(let descriptor) = completion else { return }
        accepted += 1
        backend.sockets.close(descriptor)
      }
    }
    #expect(accepted == 200)
    for client in clients { client.close() }
    backend.close(a)
  }

  private func connectTellsRefusal() throws {
    let backend = try make(kernel)
    // A port that was free a moment ago: nobody listens there.
    let (probe, address) = try kernel.listen()
    let live = try backend.sockets.open(AF_INET)
    try backend.register(live, as: a)
    backend.connect(a, to: address)
    #expect(poll(backend) == [.connected(0)])
    backend.close(a)
    backend.sockets.close(probe)
    let dead = try backend.sockets.open(AF_INET)
    let b = Handle(index: 5, generation: 1)
    try backend.register(dead, as: b)
    backend.connect(b, to: address)
    #expect(poll(backend) == [.connected(ECONNREFUSED)])
    backend.close(b)
  }

  private func whatArrivesAroundAPauseIsKeptInOrder() throws {
    let backend = try make(kernel)
    let (mine, theirs) = try kernel.pair()
    defer { theirs.close() }
    try backend.register(mine, as: a)
    backend.receive(a)
    var random = SeededGenerator(seed: 4)
    var (written, read): ([UInt8], [UInt8]) = ([], [])
    var isPaused = false
    for _ in 0..<2_000 {
      let bytes = (0..<Int.random(in: 1...300, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      #expect(theirs.write(bytes) == bytes.count)
      written += bytes
      if Int.random(in: 0..<3, using: &random) == 0 {
        isPaused.toggle()
        if isPaused { backend.pause(a) } else { backend.receive(a) }
      }
      // Toggled twice within one turn now and then.
      if isPaused, Int.random(in: 0..<4, using: &random) == 0 {
        backend.receive(a)
        backend.pause(a)
      }
      backend.poll(timeoutMilliseconds: 0) { _, completion in
        #expect(!isPaused)
        guard case .received(let bytes) = completion else { return #expect(Bool(false), "\(completion)") }
        read += bytes
        // An owner that pauses from within a delivery hears nothing more.
        guard Int.random(in: 0..<5, using: &random) == 0 else { return }
        isPaused = true
        backend.pause(a)
      }
      while written.count - read.count > 20_000 {
        if isPaused { backend.receive(a) }
        isPaused = false
        backend.poll(timeoutMilliseconds: 20) { _, completion in
          if case .received(let bytes) = completion { read += bytes }
        }
      }
    }
    backend.receive(a)
    for _ in 0..<20_000 where read.count < written.count {
      backend.poll(timeoutMilliseconds: 20) { _, completion in
        if case .received(let bytes) = completion { read += bytes }
      }
    }
    #expect(read == written)
    backend.close(a)
  }

  private func theEndOfAPausedStreamIsToldLater() throws {
    let backend = try make(kernel)
    let (mine, theirs) = try kernel.pair()
    try backend.register(mine, as: a)
    backend.receive(a)
    #expect(poll(backend) == [])
    backend.pause(a)
    #expect(theirs.write(Array("end".utf8)) == 3)
    theirs.close()
    #expect(poll(backend) == [])
    backend.receive(a)
    #expect(poll(backend) == [.received(Array("end".utf8)), .end])
    backend.close(a)
  }

  private func buffersOfClosedSendsAreKept() throws {
    let backend = try make(kernel)
    let (mine, theirs) = try kernel.pair()
    defer { theirs.close() }
    try backend.register(mine, as: a)
    var isGone = false
    do {
      let owner = BufferOwner(count: 8 << 20) { isGone = true }
      backend.send(a, UnsafeRawBufferPointer(owner.bytes))
      // The peer reads nothing: the socket is full, the send is under way.
      backend.poll(timeoutMilliseconds: 0) { _, _ in }
      backend.close(a, keeping: owner)
    }
    #expect(poll(backend) == [])
    #expect(isGone)
    var bytes = theirs.read(1 << 20)
    while let part = bytes, !part.isEmpty {
      #expect(part.allSatisfy { $0 == 7 })
      bytes = theirs.read(1 << 20)
    }
    // The descriptor is closed: the stream ends.
    #expect(bytes == [])
  }

  private func theLastTurnLetsGoOfDescriptors() throws {
    let (mine, theirs) = try kernel.pair()
    defer { theirs.close() }
    do {
      let backend = try make(kernel)
      try backend.register(mine, as: a)
      backend.receive(a)
      #expect(poll(backend) == [])
    }
    #expect(theirs.read(1) == [])
  }

  private func wakeEndsPoll() throws {
    let backend = try make(kernel)
    let waker = backend.waker
    Thread { waker.wake() }.start()
    // Without the wake-up this would wait for ever.
    backend.poll(timeoutMilliseconds: -1) { _, _ in }
  }
}

/// Lets go of a buffer that a send was submitted with, and says when.
private final class BufferOwner {
  let bytes: UnsafeMutableRawBufferPointer
  private let gone: () -> Void

  init(count: Int, gone: @escaping () -> Void) {
    bytes = .allocate(byteCount: count, alignment: 1)
    bytes.initializeMemory(as: UInt8.self, repeating: 7)
    self.gone = gone
  }

  deinit {
    // Whatever the kernel still read from here would arrive as something else.
    bytes.initializeMemory(as: UInt8.self, repeating: 9)
    bytes.deallocate()
    gone()
  }
}

struct BackendContractTests {
  @Test func ioUring() throws { try Contract(kernel: RealKernel()) { _ in try UringBackend() }.all() }
  @Test func ioUringWithFewTinyBuffers() throws {
    try Contract(kernel: RealKernel()) { _ in
      try UringBackend(receiveBufferSize: 64, receiveBuffers: 2, bulkBufferSize: 256, bulkBuffers: 2)
    }.all()
  }
  @Test func epoll() throws { try Contract(kernel: RealKernel()) { _ in try EpollBackend() }.all() }
  @Test func epollWithATinyReceiveBuffer() throws {
    try Contract(kernel: RealKernel()) { _ in try EpollBackend(receiveBufferSize: 64) }.all()
  }
  @Test func simulated() throws {
    try Contract(kernel: SimulatedKernel(.calm)) { try SimulatedBackend($0.network, host: 0) }.all()
  }
  @Test func simulatedReadingOnAfterClose() throws {
    var temper = Temper.calm
    temper.readAfterClose = 1000
    try Contract(kernel: SimulatedKernel(temper)) { try SimulatedBackend($0.network, host: 0) }.all()
  }
}
