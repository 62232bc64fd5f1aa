/// One golden conversation with its streams cut, reset and ended at one place after the other.
package struct Sweep {
  private let conversation: Golden
  private let identities: Identities
  private let stride: Int

  package private(set) var cuts = 0
  package private(set) var breaks = 0
  package private(set) var failures: [String] = []

  /// - Parameter stride: bytes between two places.
  package init(_ conversation: Golden, _ identities: Identities, stride: Int) {
    self.conversation = conversation
    self.identities = identities
    self.stride = stride
  }

  /// Does all of it; the result holds what failed.
  package func run() throws -> Sweep {
    var sweep = self
    let whole = try conversation.run(identities)
    if !whole.violations.isEmpty { sweep.failures.append("uncut: \(whole.violations)") }
    for (number, place) in Golden.places(in: whole).enumerated() where number % stride == 0 {
      try sweep.cut(place, whole)
      for fault in [Fault.reset, .end] { try sweep.breakOff(place, fault) }
    }
    try sweep.cutEverywhere(whole)
    return sweep
  }

  private mutating func cut(_ place: (link: Int, direction: Int, offset: Int), _ whole: Golden.Result) throws {
    let result = try conversation.run(identities) { $0.splits[place.link] = (place.direction, place.offset) }
    cuts += 1
    compare(result, whole, "cut at \(place)")
  }

  /// Nothing that arrives may be other than the whole's beginning; the world's own judge sees to the rest.
  private mutating func breakOff(_ place: (link: Int, direction: Int, offset: Int), _ fault: Fault) throws {
    let result = try conversation.run(identities) {
      $0.isBenign = false
      $0.cuts[place.link] = Link.Cut(direction: place.direction, offset: place.offset, fault: fault)
    }
    breaks += 1
    if !result.violations.isEmpty { failures.append("\(fault) at \(place): \(result.violations)") }
  }

  /// Reads, sends and messages of a byte each.
  private mutating func cutEverywhere(_ whole: Golden.Result) throws {
    var temper = Temper.calm
    (temper.shortRead, temper.shortWrite) = (1000, 1000)
    let shortest = try conversation.run(identities) { $0.temper = temper }
    compare(shortest, whole, "short reads and sends throughout")
    let slow = try conversation.run(identities) { plan in
      (plan.clients[0].piece, plan.clients[0].pause) = (1, 1)
      guard conversation != .largeRow else { return }
      (plan.conducts[0].piece, plan.conducts[0].pause) = (1, 1)
    }
    compare(slow, whole, "written byte by byte")
    cuts += 2
  }

  private mutating func compare(_ result: Golden.Result, _ whole: Golden.Result, _ what: String) {
    if !result.violations.isEmpty { failures.append("\(what): \(result.violations)") }
    if result.answers != whole.answers { failures.append("\(what): other answers") }
    if result.requests != whole.requests { failures.append("\(what): other requests") }
  }
}
