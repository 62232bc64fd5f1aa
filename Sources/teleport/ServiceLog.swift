import Logging
import Synchronization

/// The process's log on stderr, with one severity for all loggers that a reload may change.
struct ServiceLog: LogHandler {
  private static let severity = Mutex(Logger.Level.info)

  private var base: StreamLogHandler

  init(label: String) {
    base = .standardError(label: label)
    base.logLevel = .trace
  }

  /// - Parameter severity: as in teleport.yaml.
  static func use(severity: String) {
    let level: Logger.Level =
      switch severity.uppercased() {
      case "DEBUG": .debug
      case "WARN", "WARNING": .warning
      case "ERROR": .error
      default: .info
      }
    self.severity.withLock { $0 = level }
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
