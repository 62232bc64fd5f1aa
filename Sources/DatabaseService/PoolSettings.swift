import ConfigurationFile
import Gateway

extension PoolSettings {
  /// As configured; what is not said keeps its default.
  init(_ configuration: PoolConfiguration) {
    self.init()
    func milliseconds(_ seconds: Int) -> UInt64 { UInt64(clamping: seconds) * 1000 }
    mode = Mode(rawValue: configuration.mode) ?? mode
    size = configuration.size ?? size
    databaseSize = configuration.databaseSize ?? databaseSize
    idleTimeout = configuration.idleTimeout.map(milliseconds) ?? idleTimeout
    lifetime = configuration.lifetime.map(milliseconds) ?? lifetime
    resetQuery = configuration.resetQuery ?? resetQuery
    resetsAlways = configuration.resetsAlways ?? resetsAlways
    checkDelay = configuration.checkDelay.map(milliseconds) ?? checkDelay
    waitTimeout = configuration.waitTimeout.map(milliseconds) ?? waitTimeout
    maximumWaiting = configuration.maximumWaiting ?? maximumWaiting
    maximumStatements = configuration.maximumStatements ?? maximumStatements
  }
}
