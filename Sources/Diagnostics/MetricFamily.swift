/// One metric with all its series, as Prometheus shows it
/// (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).
public struct MetricFamily: Sendable {
  public enum Kind: String, Sendable { case counter, gauge, histogram }

  /// One line of the family.
  public struct Series: Sendable {
    /// `_bucket`, `_sum` and `_count` of a histogram; else empty.
    let suffix: String
    let labels: [(name: String, value: String)]
    let value: Double

    public init(_ labels: [(name: String, value: String)] = [], _ value: Double) {
      self.init(suffix: "", labels, value)
    }

    init(suffix: String, _ labels: [(name: String, value: String)], _ value: Double) {
      self.suffix = suffix
      self.labels = labels
      self.value = value
    }
  }

  public let name: String
  public let kind: Kind
  public let help: String
  public var series: [Series]

  public init(_ name: String, _ kind: Kind, help: String, _ series: [Series]) {
    self.name = name
    self.kind = kind
    self.help = help
    self.series = series
  }

  /// A family of one series without labels.
  public init(_ name: String, _ kind: Kind, help: String, _ value: Double) {
    self.init(name, kind, help: help, [Series([], value)])
  }
}

extension Sequence<MetricFamily> {
  /// Prometheus' text format, version 0.0.4.
  public var prometheusText: String {
    var text = ""
    for family in self where !family.series.isEmpty {
      text += "# HELP \(family.name) \(family.help.escaped(quotes: false))\n# TYPE \(family.name) \(family.kind)\n"
      for series in family.series { text += "\(family.name)\(series.suffix)\(series.labelText) \(series.valueText)\n" }
    }
    return text
  }
}

extension MetricFamily.Series {
  fileprivate var labelText: String {
    guard !labels.isEmpty else { return "" }
    return "{" + labels.map { "\($0.name)=\"\($0.value.escaped(quotes: true))\"" }.joined(separator: ",") + "}"
  }

  fileprivate var valueText: String {
    if value == .infinity { return "+Inf" }
    // A whole number reads better without exponent or fraction.
    return Int64(exactly: value).map { String($0) } ?? String(value)
  }
}

extension String {
  fileprivate func escaped(quotes: Bool) -> String {
    let text = replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
    return quotes ? text.replacing("\"", with: "\\\"") : text
  }
}
