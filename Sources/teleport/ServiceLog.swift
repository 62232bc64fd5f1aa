import ConfigurationFile
import Logging
import Synchronization

/// The process's log, with one severity for all loggers that a reload may change.
struct ServiceLog: LogHandler {
  private static let severity = Mutex(Logger.Level.info)

  private var base: LineLogHandler

  init(label: String, output: LogOutput) { base = LineLogHandler(label: label, output: output, logLevel: .trace) }

  /// - Parameter configuration: its severity is one of swift-log's levels.
  static func use(_ configuration: LogConfiguration) {
    let level = Logger.Level(rawValue: configuration.severity) ?? .info
    severity.withLock { $0 = level }
  }

  /// Loggers that set a level of their own (the HTTP servers do) are not made more talkative than that.
  private var own: Logger.Level?
  var logLevel: Logger.Level {
    get {
      let common = Self.severity.withLock { $0 }
      return own.map { max($0, common) } ?? common
    }
    set { own = newValue }
  }

  var metadata: Logger.Metadata {
    get { base.metadata }
    set { base.metadata = newValue }
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { base[metadataKey: key] }
    set { base[metadataKey: key] = newValue }
  }

  func log(event: LogEvent) { base.log(event: event) }
}
