/// How a gateway tells what its clients ask of databases: one ring a reactor, and how much of a message goes in.
public final class QueryRecording: Sendable {
  public struct Settings: Sendable {
    /// Bytes of a statement that are kept.
    public var maximumQuery = 8 << 10
    /// Whether the values of parameters are kept; they share `maximumQuery`.
    public var includesParameters = false
    /// Whether a session ends rather than go on with messages that find no room.
    public var isStrict = false
    /// Bytes that may wait on each reactor.
    public var ringSize = 4 << 20

    public init() {}
  }

  public let settings: Settings
  /// One a reactor, by its index.
  public let rings: [QueryRing]

  /// - Parameter wakeConsumer: has the rings drained soon; called on a reactor when its ring is a quarter full.
  public init(reactorCount: Int, settings: Settings, wakeConsumer: @escaping @Sendable () -> Void) {
    self.settings = settings
    rings = (0..<reactorCount).map { _ in QueryRing(capacity: settings.ringSize, wakeConsumer: wakeConsumer) }
  }
}
