import Gateway
import Synchronization

/// Where the process stands between start and end, and the gateway to ask. Thread-safe.
public final class Health: Sendable {
  public enum Stage: String, Sendable {
    /// Listeners are not open yet.
    case starting
    case ready
    /// Listeners are closed; running sessions come to their end.
    case draining
  }

  private let state = Mutex<(stage: Stage, gateway: RunningGateway?)>((.starting, nil))

  public init() {}

  public var stage: Stage { state.withLock { $0.stage } }

  /// The listeners of `gateway` are open.
  public func becomeReady(_ gateway: RunningGateway) { state.withLock { $0 = (.ready, gateway) } }

  public func beginDraining() { state.withLock { $0.stage = .draining } }

  /// Asks every reactor; none before the gateway runs.
  public func samples() async -> [ReactorSample?] {
    guard let gateway = state.withLock({ $0.gateway }) else { return [] }
    return await gateway.samples()
  }

  /// Whether every reactor answers: a process that does not is better started anew.
  public func isAlive() async -> Bool { await !samples().contains { $0 == nil } }
}
