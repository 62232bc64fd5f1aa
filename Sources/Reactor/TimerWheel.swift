/// Timers with O(1) start, cancel and expiry: a hierarchical wheel of four levels with 64 slots each.
///
/// One tick is 16 ms, so the levels span about 1 s, 65 s, 70 min and 74 h; longer waits expire early at the end of the
/// last level and are put in again. A timer never fires before its deadline and at most one tick (plus the loop's own
/// delay) after it. (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987.)
struct TimerWheel: ~Copyable {
  /// Names a started timer; worthless after it fired or was cancelled.
  struct ID: Equatable {
    fileprivate var node: Int32
    fileprivate var generation: UInt32
  }

  private struct Node {
    var next: Int32 = -1
    var previous: Int32 = -1
    var slot: Int32 = -1
    var generation: UInt32 = 0
    var deadline: UInt64 = 0
    var owner = Handle(bits: 0)
    var tag: UInt8 = 0
  }

  private static let tickMilliseconds: UInt64 = 16
  private static let slotBits: UInt64 = 6
  private static let slotsPerLevel = 64
  private static let levels = 4

  private var nodes: [Node] = []
  private var freeHead: Int32 = -1
  private var heads = [Int32](repeating: -1, count: levels * slotsPerLevel)
  /// One bit a slot: set if the slot's list is not empty.
  private var occupied = [UInt64](repeating: 0, count: levels)
  private var currentTick: UInt64
  private(set) var count = 0

  /// - Parameter now: monotonic milliseconds.
  init(now: UInt64) { currentTick = now / Self.tickMilliseconds }

  /// Starts a timer for `owner`.
  mutating func start(owner: Handle, tag: UInt8, deadline: UInt64) -> ID {
    let index = takeNode()
    nodes[Int(index)].deadline = deadline
    nodes[Int(index)].owner = owner
    nodes[Int(index)].tag = tag
    insert(index)
    count += 1
    return ID(node: index, generation: nodes[Int(index)].generation)
  }

  /// Forgets the timer; nothing happens if it has fired already.
  mutating func cancel(_ id: ID) {
    let index = Int(id.node)
    guard nodes.indices.contains(index), nodes[index].generation == id.generation, nodes[index].slot >= 0 else {
      return
    }
    unlink(id.node)
    release(id.node)
  }

  /// Milliseconds until `advance` has something to do, or `nil` without timers.
  func wait(now: UInt64) -> UInt64? {
    guard count > 0 else { return nil }
    let tick = nextBusyTick()
    let due = tick &* Self.tickMilliseconds
    return due > now ? due - now : 0
  }

  /// Takes out one timer that is due at `now`; call until it gives `nil`.
  mutating func popExpired(now: UInt64) -> (owner: Handle, tag: UInt8)? {
    let target = now / Self.tickMilliseconds
    while true {
      let slot = Int(currentTick % UInt64(Self.slotsPerLevel))
      let head = heads[slot]
      if head >= 0 {
        unlink(head)
        let node = nodes[Int(head)]
        // Only a wait longer than the whole wheel meets its slot before its deadline.
        if node.deadline > now {
          insert(head)
          continue
        }
        release(head)
        return (node.owner, node.tag)
      }
      guard currentTick < target else { return nil }
      currentTick = count == 0 ? target : min(target, max(currentTick + 1, nextBusyTick()))
      cascade()
    }
  }

  private func nextBusyTick() -> UInt64 {
    var best = UInt64.max
    for level in 0..<Self.levels where occupied[level] != 0 {
      let shift = UInt64(level) * Self.slotBits
      let position = (currentTick >> shift) & 63
      let rotated = occupied[level] >> position | (position == 0 ? 0 : occupied[level] << (64 - position))
      // On upper levels the slot we stand in has been cascaded: a bit there means a whole turn from now.
      var distance = UInt64(rotated.trailingZeroBitCount)
      if level > 0, distance == 0 {
        let others = rotated & ~1
        distance = others == 0 ? 64 : UInt64(others.trailingZeroBitCount)
      }
      best = min(best, ((currentTick >> shift) + distance) << shift)
    }
    return best
  }

  /// Spreads the upper slots that begin at the current tick over the lower levels.
  private mutating func cascade() {
    for level in 1..<Self.levels {
      let shift = UInt64(level) * Self.slotBits
      guard currentTick & ((1 << shift) - 1) == 0 else { return }
      let slot = level * Self.slotsPerLevel + Int((currentTick >> shift) & 63)
      var index = heads[slot]
      while index >= 0 {
        let next = nodes[Int(index)].next
        unlink(index)
        insert(index)
        index = next
      }
    }
  }

  private mutating func insert(_ index: Int32) {
    let roundedUp = (nodes[Int(index)].deadline &+ Self.tickMilliseconds &- 1) / Self.tickMilliseconds
    let longest = currentTick + (1 << (UInt64(Self.levels) * Self.slotBits)) - 1
    let tick = min(max(roundedUp, currentTick), longest)
    let distance = tick - currentTick
    var level = 0
    while level < Self.levels - 1, distance >> (UInt64(level + 1) * Self.slotBits) != 0 { level += 1 }
    let position = Int((tick >> (UInt64(level) * Self.slotBits)) & 63)
    let slot = level * Self.slotsPerLevel + position
    let head = heads[slot]
    nodes[Int(index)].slot = Int32(slot)
    nodes[Int(index)].previous = -1
    nodes[Int(index)].next = head
    if head >= 0 { nodes[Int(head)].previous = index }
    heads[slot] = index
    occupied[level] |= 1 << UInt64(position)
  }

  private mutating func unlink(_ index: Int32) {
    let node = nodes[Int(index)]
    let slot = Int(node.slot)
    if node.previous >= 0 { nodes[Int(node.previous)].next = node.next } else { heads[slot] = node.next }
    if node.next >= 0 { nodes[Int(node.next)].previous = node.previous }
    if heads[slot] < 0 { occupied[slot / Self.slotsPerLevel] &= ~(1 << UInt64(slot % Self.slotsPerLevel)) }
    nodes[Int(index)].slot = -1
  }

  private mutating func takeNode() -> Int32 {
    guard freeHead >= 0 else {
      nodes.append(Node())
      return Int32(nodes.count - 1)
    }
    let index = freeHead
    freeHead = nodes[Int(index)].next
    return index
  }

  private mutating func release(_ index: Int32) {
    nodes[Int(index)].generation &+= 1
    nodes[Int(index)].next = freeHead
    freeHead = index
    count -= 1
  }
}
