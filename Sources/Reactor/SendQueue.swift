/// Fixed-size blocks for bytes on their way out, kept for reuse by one reactor. Not thread-safe.
final class ChunkPool {
  /// One block: a header and `capacity` bytes behind it. Never moves, so the kernel may read it while it is filled.
  struct Chunk {
    fileprivate struct Header {
      var next: UnsafeMutableRawPointer?
      var start: Int
      var end: Int
    }
    fileprivate let base: UnsafeMutableRawPointer
  }

  /// Holds four full TLS records or one full receive buffer, with their overhead.
  static let capacity = 72 * 1024
  private static let headerSize = MemoryLayout<Chunk.Header>.stride
  private var free: [UnsafeMutableRawPointer] = []
  private let keep: Int

  /// - Parameter keep: how many unused blocks stay allocated.
  init(keep: Int = 64) {
    self.keep = keep
    free.reserveCapacity(keep)
  }

  deinit { for base in free { base.deallocate() } }

  fileprivate func take() -> Chunk {
    let base = free.popLast() ?? .allocate(byteCount: Self.headerSize + Self.capacity, alignment: 64)
    base.initializeMemory(as: Chunk.Header.self, to: .init(next: nil, start: 0, end: 0))
    return Chunk(base: base)
  }

  fileprivate func give(_ chunk: Chunk) {
    if free.count < keep { free.append(chunk.base) } else { chunk.base.deallocate() }
  }
}

extension ChunkPool.Chunk {
  // Invariant: `base` points at a live block of the pool, whose header is initialised and 0 <= start <= end <= capacity.
  fileprivate var header: UnsafeMutablePointer<Header> { base.assumingMemoryBound(to: Header.self) }
  fileprivate var data: UnsafeMutableRawPointer { base + MemoryLayout<Header>.stride }
  fileprivate var next: Self? { header.pointee.next.map(Self.init(base:)) }
}

/// Bytes of one connection that wait for the kernel, in order. Holds no memory while empty.
struct SendQueue: ~Copyable {
  private var head: ChunkPool.Chunk?
  private var tail: ChunkPool.Chunk?
  private let pool: ChunkPool
  /// Bytes not yet taken by the kernel.
  private(set) var count = 0

  init(pool: ChunkPool) { self.pool = pool }

  deinit {
    var chunk = head
    while let current = chunk {
      chunk = current.next
      pool.give(current)
    }
  }

  /// Copies `bytes` to the end.
  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    var rest = bytes
    while !rest.isEmpty {
      let chunk = tailWithRoom()
      let end = chunk.header.pointee.end
      let part = min(ChunkPool.capacity - end, rest.count)
      UnsafeMutableRawBufferPointer(start: chunk.data + end, count: part)
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest[..<part]))
      chunk.header.pointee.end = end + part
      count += part
      rest = UnsafeRawBufferPointer(rebasing: rest[part...])
    }
  }

  /// Appends `bytes` bytes in one piece, at most a block, for the caller to write before the queue is next asked for.
  mutating func claim(_ bytes: Int) -> UnsafeMutableRawPointer {
    precondition(bytes <= ChunkPool.capacity)
    let chunk = tailWithRoom(for: bytes)
    let end = chunk.header.pointee.end
    chunk.header.pointee.end = end + bytes
    count += bytes
    return chunk.data + end
  }

  /// The first run of bytes to send; stays in place until `consume`. Empty if there is nothing.
  var front: UnsafeRawBufferPointer {
    guard let head else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let (start, end) = (head.header.pointee.start, head.header.pointee.end)
    return UnsafeRawBufferPointer(start: head.data + start, count: end - start)
  }

  /// Drops `sent` bytes of `front`.
  mutating func consume(_ sent: Int) {
    guard let chunk = head else { return }
    let start = chunk.header.pointee.start + min(sent, front.count)
    count -= start - chunk.header.pointee.start
    chunk.header.pointee.start = start
    guard start == chunk.header.pointee.end else { return }
    head = chunk.next
    if head == nil { tail = nil }
    pool.give(chunk)
  }

  private mutating func tailWithRoom(for bytes: Int = 1) -> ChunkPool.Chunk {
    if let tail, tail.header.pointee.end <= ChunkPool.capacity - bytes { return tail }
    let fresh = pool.take()
    if let tail { tail.header.pointee.next = fresh.base } else { head = fresh }
    tail = fresh
    return fresh
  }
}
