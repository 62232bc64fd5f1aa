/// What can go wrong between two hosts or within one, as injected.
package enum Fault: String, CaseIterable, Sendable {
  // In the kernel of a host.
  case shortRead, shortWrite, wouldBlock, lateCompletion, reordered, readAfterClose
  case acceptFailure, socketFailure, tuneFailure
  // On the way.
  case reset, end, blackHole, corruption, latency, loss, slowLink, dialRefused, dialUnanswered
  // At the peers.
  case slowReader, slowWriter, abandonment, rudeClient, brokenDatabase
  // Within the process.
  case clockJump, fullMailbox, slowDecision, lateReport, refusal, lateRecord, shutdown
}

/// How often each fault was injected.
package struct FaultCounts: Sendable {
  private var counts: [Fault: Int] = [:]

  package init() {}
  package mutating func add(_ fault: Fault, _ count: Int = 1) { counts[fault, default: 0] += count }
  package subscript(fault: Fault) -> Int { counts[fault] ?? 0 }
  package mutating func add(_ other: FaultCounts) { for (fault, count) in other.counts { add(fault, count) } }
}

/// How a kernel and its network misbehave in one run: chances in a thousand, drawn anew for each seed.
package struct Temper: Sendable {
  package var shortRead = 0
  package var shortWrite = 0
  package var wouldBlock = 0
  package var lateCompletion = 0
  package var reorder = 0
  package var readAfterClose = 0
  package var acceptFailure = 0
  package var socketFailure = 0
  package var tuneFailure = 0
  package var dialRefused = 0
  package var dialUnanswered = 0
  /// Milliseconds a segment travels at most.
  package var latency: UInt64 = 2
  /// Bytes that a socket takes before its peer has read any.
  package var window = 64 * 1024

  /// A kernel that does as it is told.
  package static let calm = Temper()

  package init() {}
}
