import Glibc

/// Tells the service manager how this process is doing: the protocol of sd_notify(3), without libsystemd.
///
/// One datagram a call to the socket that systemd names in the environment; does nothing without one. Thread-safe.
public struct ServiceNotifier: Sendable {
  /// One assignment of the protocol.
  public enum State: Sendable {
    case ready
    /// A reload began; `ready` ends it.
    case reloading
    case stopping
    case watchdog
    /// Shown by `systemctl status`; one line.
    case status(String)
    /// Stopping may take so long from now on before systemd kills.
    case extendTimeout(Duration)
  }

  private let path: String?
  /// How often `watchdog` has to be told at least, if systemd watches; twice as often is the custom.
  public let watchdogInterval: Duration?

  /// - Parameter environment: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are read.
  public init(environment: [String: String]) {
    // A path, or a name in the abstract namespace.
    path = environment["NOTIFY_SOCKET"].flatMap { $0.hasPrefix("/") || $0.hasPrefix("@") ? $0 : nil }
    let isForUs = environment["WATCHDOG_PID"].map { $0 == String(getpid()) } ?? true
    watchdogInterval = environment["WATCHDOG_USEC"].flatMap { Int64($0) }.flatMap { microseconds in
      isForUs && microseconds > 0 ? .microseconds(microseconds) : nil
    }
  }

  /// Sends `states` in one message.
  ///
  /// - Throws: `ServiceNotifierError` if systemd gave a socket and it does not take the message.
  public func notify(_ states: [State]) throws {
    guard let path else { return }
    let message = Array(states.flatMap(\.lines).joined(separator: "\n").utf8)
    let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw ServiceNotifierError(errno: errno) }
    defer { close(descriptor) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var name = Array(path.utf8)
    guard name.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw ServiceNotifierError(errno: ENAMETOOLONG)
    }
    if name[0] == UInt8(ascii: "@") { name[0] = 0 }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
    // An abstract name is as long as the address says: no byte may follow it.
    let length = (MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2) + name.count
    let sent = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(descriptor, message, message.count, Int32(MSG_NOSIGNAL), $0, socklen_t(length))
      }
    }
    guard sent == message.count else { throw ServiceNotifierError(errno: errno) }
  }
}

extension ServiceNotifier.State {
  fileprivate var lines: [String] {
    switch self {
    case .ready: ["READY=1"]
    case .reloading: ["RELOADING=1", "MONOTONIC_USEC=\(Self.monotonicMicroseconds())"]
    case .stopping: ["STOPPING=1"]
    case .watchdog: ["WATCHDOG=1"]
    case .status(let text): ["STATUS=" + text.replacing("\n", with: " ")]
    case .extendTimeout(let duration): ["EXTEND_TIMEOUT_USEC=\(Int64(duration / .microseconds(1)))"]
    }
  }

  /// systemd compares it with its own clock to tell this reload's READY from an earlier one.
  private static func monotonicMicroseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) &* 1_000_000 &+ Int64(time.tv_nsec) / 1000
  }
}

/// The service manager could not be told.
public struct ServiceNotifierError: Error, CustomStringConvertible, Sendable {
  public let errno: Int32
  public var description: String { "cannot notify systemd: \(String(cString: strerror(errno)))" }
}
