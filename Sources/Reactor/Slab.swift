/// Fixed places for connections, reused in last-out-first-in order, each with a generation that grows on every release.
///
/// Lookups borrow: they return an unretained reference, valid until the end of the current loop turn, because released
/// channels are kept alive in `departed` until `buryDeparted()`.
struct Slab: ~Copyable {
  private struct Slot {
    var channel: Unmanaged<Channel>?
    var generation: UInt32
  }

  private var slots: [Slot] = []
  private var free: [Int] = []
  private var departed: [Unmanaged<Channel>] = []
  private(set) var count = 0

  let capacity: Int

  init(capacity: Int) { self.capacity = capacity }

  deinit {
    for slot in slots { slot.channel?.release() }
    for channel in departed { channel.release() }
  }

  /// Takes a place for `channel` and keeps it alive; `nil` when the slab is full.
  mutating func insert(_ channel: Channel) -> Handle? {
    let index: Int
    if let reused = free.popLast() {
      index = reused
    } else if slots.count < capacity {
      index = slots.count
      slots.append(Slot(channel: nil, generation: 1))
    } else {
      return nil
    }
    slots[index].channel = .passRetained(channel)
    count += 1
    return Handle(index: index, generation: slots[index].generation)
  }

  /// The channel that `handle` names, or `nil` if it is gone.
  @inline(__always)
  func lookUp(_ handle: Handle) -> Unmanaged<Channel>? {
    let index = handle.index
    guard index < slots.count else { return nil }
    let slot = slots[index]
    return slot.generation == handle.generation ? slot.channel : nil
  }

  /// Gives the place and its handle to `channel`; the former holder lives on until `buryDeparted()`.
  mutating func replace(_ handle: Handle, with channel: Channel) {
    let index = handle.index
    guard index < slots.count, slots[index].generation == handle.generation, let former = slots[index].channel else {
      return
    }
    slots[index].channel = .passRetained(channel)
    departed.append(former)
  }

  /// Frees the place; the channel itself lives on until `buryDeparted()`, so a caller up the stack may still touch it.
  mutating func remove(_ handle: Handle) {
    let index = handle.index
    guard index < slots.count, slots[index].generation == handle.generation, let channel = slots[index].channel else {
      return
    }
    slots[index].channel = nil
    slots[index].generation &+= 1
    free.append(index)
    departed.append(channel)
    count -= 1
  }

  /// Lets go of the channels removed during this turn. Call only with no channel method on the stack.
  mutating func buryDeparted() {
    while let channel = departed.popLast() { channel.release() }
  }

  /// Handles of all live channels.
  var handles: [Handle] {
    slots.indices.compactMap { index in
      slots[index].channel == nil ? nil : Handle(index: index, generation: slots[index].generation)
    }
  }
}
