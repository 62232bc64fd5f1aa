import CoreMetrics
import Synchronization

/// Keeps what the process counts through swift-metrics, for Prometheus to fetch.
///
/// For the decision path (calls to AWS, audit records): every update takes a lock. Reactors count for themselves; see
/// `WorkerCounters`. Thread-safe.
public final class MetricsRegistry: MetricsFactory {
  /// What a metric is about, shown as its HELP line; keyed by name.
  private let help: [String: String]
  private let handlers = Mutex<[Key: any Readable]>([:])

  /// A metric's name and labels.
  struct Key: Hashable, Sendable {
    let name: String
    let labels: [[String]]
  }

  /// More series than this are not kept: labels that grow without bound would eat the memory.
  static let maximumSeries = 2_000

  public init(help: [String: String]) { self.help = help }

  /// Everything counted so far, by name.
  public func families() -> [MetricFamily] {
    var families: [String: MetricFamily] = [:]
    for (key, handler) in handlers.withLock({ $0 }) {
      let labels = key.labels.map { (name: $0[0], value: $0[1]) }
      families[key.name, default: MetricFamily(key.name, handler.kind, help: help[key.name] ?? key.name, [])].series +=
        handler.read(labels)
    }
    return families.values.sorted { $0.name < $1.name }
  }

  /// The handler of this name, kind and labels; one that counts for nobody if there are too many.
  private func handler<Handler: Readable>(
    _ label: String, _ dimensions: [(String, String)], _ make: () -> Handler
  ) -> Handler {
    let labels = dimensions.sorted { $0.0 < $1.0 }.map { [$0.0, $0.1] }
    let key = Key(name: label.replacing(/[^a-zA-Z0-9_:]/, with: "_"), labels: labels)
    return handlers.withLock { handlers in
      if let known = handlers[key] as? Handler { return known }
      let handler = make()
      if handlers[key] == nil, handlers.count < Self.maximumSeries { handlers[key] = handler }
      return handler
    }
  }

  public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
    handler(label, dimensions) { Sum(kind: .counter) }
  }
  public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
    handler(label, dimensions) { Sum(kind: .gauge) }
  }
  public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
    aggregate ? handler(label, dimensions) { Histogram() } : handler(label, dimensions) { Sum(kind: .gauge) }
  }
  public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    handler(label, dimensions) { Histogram() }
  }

  // Series last as long as the process: Prometheus has no use for counters that come and go.
  public func destroyCounter(_ handler: any CounterHandler) {}
  public func destroyMeter(_ handler: any MeterHandler) {}
  public func destroyRecorder(_ handler: any RecorderHandler) {}
  public func destroyTimer(_ handler: any TimerHandler) {}
}

/// A metric that can be shown.
private protocol Readable: Sendable {
  var kind: MetricFamily.Kind { get }
  func read(_ labels: [(name: String, value: String)]) -> [MetricFamily.Series]
}

/// One number: a counter or a gauge.
private final class Sum: Readable, CounterHandler, MeterHandler, RecorderHandler {
  let kind: MetricFamily.Kind
  private let value = Mutex(0.0)

  init(kind: MetricFamily.Kind) { self.kind = kind }

  func increment(by amount: Int64) { increment(by: Double(amount)) }
  func increment(by amount: Double) { value.withLock { $0 += amount } }
  func decrement(by amount: Double) { increment(by: -amount) }
  func set(_ value: Int64) { set(Double(value)) }
  func set(_ value: Double) { self.value.withLock { $0 = value } }
  func record(_ value: Int64) { set(value) }
  func record(_ value: Double) { set(value) }
  func reset() { set(0.0) }

  func read(_ labels: [(name: String, value: String)]) -> [MetricFamily.Series] {
    [.init(labels, value.withLock { $0 })]
  }
}

/// Durations in seconds, counted by how long they were at most.
private final class Histogram: Readable, TimerHandler, RecorderHandler {
  let kind = MetricFamily.Kind.histogram

  /// Upper bounds in seconds: from a local answer to the longest wait of a login.
  private static let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

  private struct State {
    var counts = [Double](repeating: 0, count: Histogram.bounds.count)
    var sum = 0.0
    var count = 0.0
  }

  private let state = Mutex(State())

  func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }
  func record(_ value: Int64) { record(Double(value)) }

  func record(_ value: Double) {
    state.withLock { state in
      for (index, bound) in Self.bounds.enumerated() where value <= bound { state.counts[index] += 1 }
      state.sum += value
      state.count += 1
    }
  }

  func read(_ labels: [(name: String, value: String)]) -> [MetricFamily.Series] {
    let state = state.withLock { $0 }
    var series = zip(Self.bounds, state.counts).map { bound, count in
      MetricFamily.Series(suffix: "_bucket", labels + [("le", "\(bound)")], count)
    }
    series.append(.init(suffix: "_bucket", labels + [("le", "+Inf")], state.count))
    series.append(.init(suffix: "_sum", labels, state.sum))
    series.append(.init(suffix: "_count", labels, state.count))
    return series
  }
}
