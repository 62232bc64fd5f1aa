import Glibc
import Synchronization

/// A value that readers never wait for: the left-right technique of Ramalhete and Correia.
///
/// There are two copies. Readers use one; a writer changes the other, sends new readers there, waits until the old copy has no
/// reader any more, and changes that one as well.
final class LeftRight<Value>: @unchecked Sendable {
  // Invariant: a copy is changed only by the writer that holds `writers`, and only while `readingLeft` sends readers to the
  // other copy and the readers that came before have left.
  private var left: Value
  private var right: Value
  private let readingLeft = Atomic<Bool>(true)
  /// Readers enter themselves in one of two counts: new ones need not be waited for with the old.
  private let usesFirstCount = Atomic<Bool>(true)
  private let firstCount = Atomic<Int>(0)
  private let secondCount = Atomic<Int>(0)
  private let writers = Mutex(())

  init(_ value: Value) {
    left = value
    right = value
  }

  /// Lends the value; never waits. `body` is to be short: a writer may wait for it.
  func read<Result>(_ body: (Value) -> Result) -> Result {
    let isFirst = usesFirstCount.load(ordering: .sequentiallyConsistent)
    enter(isFirst, 1)
    defer { enter(isFirst, -1) }
    return readingLeft.load(ordering: .sequentiallyConsistent) ? body(left) : body(right)
  }

  /// Changes the value; `change` is run twice, on equal copies. Waits for other writers and for readers at work.
  func write(_ change: (inout Value) -> Void) {
    writers.withLock { _ in
      let wasLeft = readingLeft.load(ordering: .sequentiallyConsistent)
      if wasLeft { change(&right) } else { change(&left) }
      readingLeft.store(!wasLeft, ordering: .sequentiallyConsistent)
      // Readers that have seen the old value of `readingLeft` are in either count.
      let wasFirst = usesFirstCount.load(ordering: .sequentiallyConsistent)
      waitUntilEmpty(!wasFirst)
      usesFirstCount.store(!wasFirst, ordering: .sequentiallyConsistent)
      waitUntilEmpty(wasFirst)
      if wasLeft { change(&left) } else { change(&right) }
    }
  }

  private func enter(_ isFirst: Bool, _ number: Int) {
    if isFirst {
      firstCount.wrappingAdd(number, ordering: .sequentiallyConsistent)
    } else {
      secondCount.wrappingAdd(number, ordering: .sequentiallyConsistent)
    }
  }

  private func waitUntilEmpty(_ isFirst: Bool) {
    func readers() -> Int {
      isFirst
        ? firstCount.load(ordering: .sequentiallyConsistent) : secondCount.load(ordering: .sequentiallyConsistent)
    }
    while readers() != 0 { sched_yield() }
  }
}
