import CoreMetrics
import Testing

@testable import Diagnostics

struct MetricsTests {
  @Test func textFormatEscapesWhatMustBe() {
    let families = [
      MetricFamily(
        "a_total", .counter, help: "one\\two\nthree", [.init([("path", "C:\\\"x\"\n")], 3), .init([], 0.5)]),
      MetricFamily("empty", .gauge, help: "not shown", []),
      MetricFamily("big", .gauge, help: "whole numbers stay whole", 123_456_789_012),
    ]
    #expect(
      families.prometheusText == #"""
        # HELP a_total one\\two\nthree
        # TYPE a_total counter
        a_total{path="C:\\\"x\"\n"} 3
        a_total 0.5
        # HELP big whole numbers stay whole
        # TYPE big gauge
        big 123456789012

        """#)
  }

  @Test func countersOfTheSameLabelsAreOne() {
    let registry = MetricsRegistry(help: ["calls_total": "Calls."])
    Counter(label: "calls_total", dimensions: [("b", "2"), ("a", "1")], factory: registry).increment(by: 2)
    Counter(label: "calls_total", dimensions: [("a", "1"), ("b", "2")], factory: registry).increment()
    Counter(label: "calls_total", dimensions: [("a", "other")], factory: registry).increment()
    Gauge(label: "odd-name.x", factory: registry).record(7)
    #expect(
      registry.families().prometheusText.split(separator: "\n").sorted() == [
        "# HELP calls_total Calls.", "# HELP odd_name_x odd_name_x", "# TYPE calls_total counter",
        "# TYPE odd_name_x gauge", #"calls_total{a="1",b="2"} 3"#, #"calls_total{a="other"} 1"#, "odd_name_x 7",
      ])
  }

  @Test func histogramsAreCumulative() {
    let registry = MetricsRegistry(help: [:])
    let timer = Timer(label: "wait_seconds", factory: registry)
    for milliseconds in [1, 20, 20, 60_000] as [Int64] { timer.recordMilliseconds(milliseconds) }
    let lines = registry.families().prometheusText.split(separator: "\n")
    for line in [
      #"wait_seconds_bucket{le="0.005"} 1"#, #"wait_seconds_bucket{le="0.025"} 3"#,
      #"wait_seconds_bucket{le="30.0"} 3"#,
      #"wait_seconds_bucket{le="+Inf"} 4"#, "wait_seconds_count 4", "wait_seconds_sum 60.041",
    ] {
      #expect(lines.contains(line[...]))
    }
  }

  @Test func seriesAreBounded() {
    let registry = MetricsRegistry(help: [:])
    for number in 0..<(MetricsRegistry.maximumSeries + 500) {
      Counter(label: "x", dimensions: [("n", "\(number)")], factory: registry).increment()
    }
    #expect(registry.families().first?.series.count == MetricsRegistry.maximumSeries)
  }

  @Test func manyThreadsLoseNoCount() async {
    let registry = MetricsRegistry(help: [:])
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask { for _ in 0..<1000 { Counter(label: "x", factory: registry).increment() } }
      }
    }
    #expect(registry.families().first?.series.first?.value == 8000)
  }
}
