import Synchronization

/// What one reactor has to tell about the messages it relays, on its way to the thread that accounts for them.
///
/// A ring of bytes with one producer, the reactor, and one consumer. Entries are copied in and published by one atomic
/// store: no lock, no allocation, and no wake-up but when the ring fills faster than the consumer comes by itself.
///
/// Invariant behind `@unchecked Sendable`: bytes between `head` and `tail` belong to the consumer, the others to the
/// producer, which alone uses `position`; the two counters are handed over with release and acquire.
public final class QueryRing: @unchecked Sendable {
  /// The fixed part of an entry.
  public struct Entry {
    /// Type byte of the message.
    public var type: UInt8
    public var flags: Flags
    /// Length in bytes of the message's whole body, of which the entry may hold less.
    public var bodyLength: UInt32
    /// Operations that the database has acknowledged since the entry before.
    public var acknowledged: UInt32
    /// The session's number; see `SessionGrant.recording`.
    public var session: UInt64
    /// Monotonic milliseconds, as `Reactor.now`.
    public var time: UInt64
  }

  public struct Flags: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Begins a message.
    public static let first = Flags(rawValue: 1)
    /// Ends it, or what is kept of it.
    public static let last = Flags(rawValue: 2)
    /// Comes from the database.
    public static let response = Flags(rawValue: 4)
    /// Entries of this session before this one found no room.
    public static let gap = Flags(rawValue: 8)
    /// With a ReadyForQuery: the client has asked for nothing else.
    public static let idle = Flags(rawValue: 16)
  }

  private static let headerSize = 32
  private let storage: UnsafeMutableRawBufferPointer
  private let capacity: Int
  private let wakeConsumer: @Sendable () -> Void
  private let head = Atomic<Int>(0)
  private let tail = Atomic<Int>(0)
  private let isWoken = Atomic<Bool>(false)
  private let lost = Atomic<Int>(0)
  private var position = 0

  /// - Parameters:
  ///   - capacity: bytes, rounded up to a power of two.
  ///   - wakeConsumer: has `drain` called soon; from the reactor's thread.
  init(capacity: Int, wakeConsumer: @escaping @Sendable () -> Void) {
    var size = 4096
    while size < capacity, size < 1 << 30 { size <<= 1 }
    self.capacity = size
    self.wakeConsumer = wakeConsumer
    storage = .allocate(byteCount: size, alignment: 64)
  }

  deinit { storage.deallocate() }

  // MARK: Producer

  /// Copies an entry in.
  ///
  /// - Parameter reserve: bytes that have to stay free behind it.
  /// - Returns: `false` if there is no room.
  func put(_ entry: Entry, _ bytes: UnsafeRawBufferPointer, reserve: Int) -> Bool {
    let size = (Self.headerSize + bytes.count + 7) & ~7
    let offset = position & (capacity - 1)
    // An entry does not wrap: what is left at the end is skipped by an entry without a type.
    let padding = offset + size > capacity ? capacity - offset : 0
    let used = position - head.load(ordering: .acquiring)
    guard used + padding + size + reserve <= capacity else {
      lost.add(1, ordering: .relaxed)
      return false
    }
    if padding > 0 {
      storage.storeBytes(of: UInt32(truncatingIfNeeded: padding), toByteOffset: offset, as: UInt32.self)
      storage.storeBytes(of: 0, toByteOffset: offset + 4, as: UInt8.self)
    }
    let start = (position + padding) & (capacity - 1)
    storage.storeBytes(of: UInt32(truncatingIfNeeded: size), toByteOffset: start, as: UInt32.self)
    storage.storeBytes(of: entry.type, toByteOffset: start + 4, as: UInt8.self)
    storage.storeBytes(of: entry.flags.rawValue, toByteOffset: start + 5, as: UInt8.self)
    storage.storeBytes(
      of: UInt16(truncatingIfNeeded: size - Self.headerSize - bytes.count), toByteOffset: start + 6, as: UInt16.self)
    storage.storeBytes(of: entry.bodyLength, toByteOffset: start + 8, as: UInt32.self)
    storage.storeBytes(of: entry.acknowledged, toByteOffset: start + 12, as: UInt32.self)
    storage.storeBytes(of: entry.session, toByteOffset: start + 16, as: UInt64.self)
    storage.storeBytes(of: entry.time, toByteOffset: start + 24, as: UInt64.self)
    if !bytes.isEmpty {
      UnsafeMutableRawBufferPointer(rebasing: storage[(start + Self.headerSize)...]).copyMemory(from: bytes)
    }
    position += padding + size
    tail.store(position, ordering: .releasing)
    if used + padding + size > capacity / 4, !isWoken.load(ordering: .relaxed),
      !isWoken.exchange(true, ordering: .relaxed)
    {
      wakeConsumer()
    }
    return true
  }

  var size: Int { capacity }

  // MARK: Consumer

  /// Entries that found no room, since the last call.
  public func takeLostCount() -> Int {
    lost.load(ordering: .relaxed) == 0 ? 0 : lost.exchange(0, ordering: .relaxed)
  }

  /// Hands out what is there, oldest first, until `take` returns `false`; its bytes are borrowed.
  public func drain(_ take: (Entry, UnsafeRawBufferPointer) -> Bool) {
    isWoken.store(false, ordering: .relaxed)
    let end = tail.load(ordering: .acquiring)
    var position = head.load(ordering: .relaxed)
    while position < end {
      let start = position & (capacity - 1)
      let size = Int(storage.load(fromByteOffset: start, as: UInt32.self))
      let type = storage.load(fromByteOffset: start + 4, as: UInt8.self)
      if type != 0 {
        let padding = Int(storage.load(fromByteOffset: start + 6, as: UInt16.self))
        let entry = Entry(
          type: type, flags: Flags(rawValue: storage.load(fromByteOffset: start + 5, as: UInt8.self)),
          bodyLength: storage.load(fromByteOffset: start + 8, as: UInt32.self),
          acknowledged: storage.load(fromByteOffset: start + 12, as: UInt32.self),
          session: storage.load(fromByteOffset: start + 16, as: UInt64.self),
          time: storage.load(fromByteOffset: start + 24, as: UInt64.self))
        let bytes = UnsafeRawBufferPointer(
          rebasing: storage[start + Self.headerSize..<start + size - padding])
        guard take(entry, bytes) else { return }
      }
      position += size
      head.store(position, ordering: .releasing)
    }
  }
}
